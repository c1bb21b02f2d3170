//! From a source to an image on Azure.
