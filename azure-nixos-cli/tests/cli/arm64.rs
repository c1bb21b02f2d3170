//! Disks for Arm64: Azure has no managed images for them, and says so when all was uploaded.

use crate::disks::{self, Table};
use crate::place::Place;
use crate::road::resource;

/// The image is refused before anything is made, and the way that is named instead leads to a machine.
#[test]
fn an_arm64_image_is_refused_at_once_and_boots_from_a_disk() {
    let place = Place::new();
    disks::make(&place.path("arm.raw"), Table::Arm64, 24, 8);
    let done = place.run(&[
        "upload-image",
        "--local",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "arm.raw",
    ]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(1), ""),
        "{done:#?}"
    );
    for words in [
        "arm.raw is for Arm64, and Azure has managed images for x64 only",
        "`azure-nixos upload-vhd arm.raw -g GROUP -n DISK`",
        "gallery",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    assert!(place.traces().is_empty());

    let said = place.good(&["inspect", "arm.raw"]).stdout;
    assert!(said.contains("architecture Arm64"), "{said}");
    assert!(said.contains("managed images are for x64 only"), "{said}");

    let done = place.good(&["upload-vhd", "--local", "arm.raw", "-g", "g", "-n", "web"]);
    let disk = done.stdout.trim();
    let properties = &resource(&place, disk)["properties"];
    assert_eq!(properties["supportedCapabilities"]["architecture"], "Arm64");
    assert_eq!(properties["hyperVGeneration"], "V2");
    assert_eq!(properties["osType"], "Linux");

    let before = place.traces();
    let boot = |size: &str| {
        place.run(&[
            "boot-vm", "--local", "-g", "g", "-n", "arm", "-i", disk, "-s", size,
        ])
    };
    let done = boot("Standard_D2s_v5");
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(
        done.stderr
            .contains("its processors are x64, and the image is for Arm64"),
        "{}",
        done.stderr
    );
    assert_eq!(place.traces(), before);
    let done = boot("Standard_D2ps_v5");
    assert_eq!(done.code(), Some(0), "{done:#?}");
}

/// What a disk can be booted by stands on it: Azure takes one that says nothing for generation V1.
#[test]
fn a_disk_says_what_boots_it() {
    let place = Place::new();
    for (name, table, more, generation) in [
        ("uefi", Table::Esp, &[][..], Some("V2")),
        ("bios", Table::Mbr, &[], Some("V1")),
        ("data", Table::None, &[], None),
        ("said", Table::None, &["--generation", "v2"], Some("V2")),
    ] {
        disks::make(&place.path(name), table, 24, 8);
        let mut arguments = vec!["upload-vhd", "--local", name, "-g", "g", "-n", name];
        arguments.extend(more);
        let done = place.good(&arguments);
        let disk = resource(&place, done.stdout.trim());
        assert_eq!(
            disk["properties"]["hyperVGeneration"].as_str(),
            generation,
            "{name}"
        );
        assert_eq!(disk["properties"]["osType"], "Linux", "{name}");
        assert!(
            disk["properties"]["supportedCapabilities"]["architecture"] != "Arm64",
            "{name}"
        );
    }
    let done = place.run(&[
        "upload-vhd",
        "--local",
        "bios",
        "-g",
        "g",
        "-n",
        "wrong",
        "--generation",
        "v2",
    ]);
    assert_eq!(done.code(), Some(1));
    assert!(
        done.stderr.contains("can only be booted by BIOS"),
        "{}",
        done.stderr
    );
}
