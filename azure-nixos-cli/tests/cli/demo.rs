//! `demo`.

use std::fs;

use crate::disks::{self, Table};
use crate::place::{Place, files};

#[test]
fn the_demo_shows_the_whole_way_and_leaves_nothing() {
    let place = Place::new();
    let temporary = place.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("TMPDIR", &temporary);
        let done = crate::place::Running::start(command).finish();
        assert_eq!(done.code(), Some(0), "{done:#?}");
        assert!(files(&temporary).is_empty(), "{:?}", files(&temporary));
        done
    };
    // What the README promises: made, uploaded, registered, compared, booted.
    let done = run(&["demo"]);
    for word in [
        "disk image   /",
        "of 512 MiB sent in ",
        "images/nixos-demo (V2)",
        "compared     512 MiB on the local Azure are those of the file",
        "virtualMachines/demo\n",
        "log in       ssh -i ",
        "nixos@",
        "azure-nixos upload-image -g images-rg",
    ] {
        assert!(done.stdout.contains(word), "{word:?} in {}", done.stdout);
    }
    for word in ["uploading", "creating image", "creating machine"] {
        assert!(done.stderr.contains(word), "{word:?} in {}", done.stderr);
    }
    assert!(!place.path("home/.ssh").exists() && !place.path("azure").exists());

    disks::make(&place.path("own.raw"), Table::Mbr, 24, 4);
    let shown = run(&["demo", "-o", "json", "--image-file", "own.raw"]).json();
    assert_eq!(shown["generation"], "V1");
    assert_eq!(shown["bytes_compared"], 24 << 20);
    assert_eq!(shown["bytes_logical"], (24 << 20) + 512);
    assert!(
        shown["vm"]["ssh_command"]
            .as_str()
            .unwrap()
            .contains("nixos@")
    );
}
