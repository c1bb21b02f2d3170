//! What `--help` and `--version` print. A change of it is a change of the interface.

use crate::place::Place;

#[test]
fn help_of_everything() {
    let place = Place::new();
    for command in [
        "",
        "upload-image",
        "boot-vm",
        "ssh",
        "list-vms",
        "inventory",
        "show-vm",
        "start",
        "stop",
        "restart",
        "resize",
        "delete-vm",
        "serial-log",
        "upload-vhd",
        "inspect",
        "convert",
        "check",
        "emulator",
        "emulator env",
        "demo",
    ] {
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let done = place.good(&arguments);
        assert_eq!(done.stderr, "");
        let name = if command.is_empty() {
            "azure-nixos".to_owned()
        } else {
            command.replace(' ', "-")
        };
        insta::assert_snapshot!(name, done.stdout);
        // The short form is the same text or less of it.
        let short: Vec<_> = command.split_whitespace().chain(["-h"]).collect();
        assert_eq!(
            place.good(&short).stdout.lines().next(),
            done.stdout.lines().next()
        );
    }
}

#[test]
fn the_version() {
    let place = Place::new();
    for arguments in [&["--version"][..], &["-V"], &["upload-image", "--version"]] {
        let done = place.good(arguments);
        let version = done.stdout.trim().rsplit(' ').next().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "{}", done.stdout);
        assert_eq!(done.stderr, "");
    }
}
