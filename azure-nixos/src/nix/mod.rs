//! Drive nix: installables, events, and the image in the output.
