//! The command line of azure-nixos.
fn main() {}
