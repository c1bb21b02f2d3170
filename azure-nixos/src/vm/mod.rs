//! From an image to a machine.
