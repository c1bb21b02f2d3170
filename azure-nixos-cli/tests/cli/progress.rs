//! Progress: lines that a person can follow, or silence.

use crate::disks::{self, Table};
use crate::place::Place;

#[test]
fn lines_come_in_the_order_of_the_work() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let upload = [
        "--progress",
        "plain",
        "upload-image",
        "--local",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let done = place.good(&upload);
    let order = [
        "checking web",
        "inspecting disk.raw",
        "creating disk web",
        "uploading",
        "verifying",
        "committing",
        "creating image web",
        "sent 6 MiB of 24 MiB",
    ];
    // A line may be missed, when two follow at once; none comes at the wrong time, or twice.
    let mut last = 0;
    for line in done.stderr.lines() {
        let place = order.iter().position(|start| line.starts_with(start));
        let place = place.unwrap_or_else(|| panic!("{line:?} in {}", done.stderr));
        assert!(place >= last, "{line:?} in {}", done.stderr);
        last = place;
    }
    assert_eq!(last, order.len() - 1, "{}", done.stderr);

    let done = place.good(&upload);
    let end = done.stderr.lines().last().unwrap();
    assert_eq!(
        end,
        "the image web has this content already; nothing was sent"
    );
}

#[test]
fn no_progress_is_nothing_but_warnings() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    disks::make(&place.path("none.raw"), Table::None, 24, 4);
    let quiet = ["--progress", "none", "--local", "-g", "g"];
    let run = |more: &[&str]| place.good(&[more, &quiet].concat()).stderr;
    assert_eq!(
        run(&["upload-image", "-n", "web", "--image-file", "disk.raw"]),
        ""
    );
    assert_eq!(
        run(&["upload-image", "-n", "web", "--image-file", "disk.raw"]),
        ""
    );
    assert_eq!(run(&["upload-vhd", "-n", "disk", "disk.raw"]), "");
    let said = run(&["upload-image", "-n", "none", "--image-file", "none.raw"]);
    assert!(
        said.lines().count() == 1 && said.starts_with("warning: "),
        "{said}"
    );
    // How to log in is a result and not progress.
    let said = run(&["boot-vm", "-i", "web", "-n", "web"]);
    let starts: Vec<_> = said
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        starts,
        [
            "warning",
            "the machine runs; whether ssh answers is not looked at",
            "private key",
            "log in"
        ],
        "{said}"
    );
}
