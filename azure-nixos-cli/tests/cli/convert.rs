//! `convert`: from every format to the file that an upload would write.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::formats::{self, IMAGES};
use crate::place::{Place, other};
use crate::tools::have;

/// QEMU's word that two images hold the same disk.
fn same(format: &str, image: &Path, vhd: &Path) {
    // Without the flag QEMU takes the size of other programs' VHDs from their geometry.
    let vhd = format!(
        "driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={}",
        vhd.display()
    );
    other(
        "qemu-img",
        &[
            &"compare",
            &"--image-opts",
            &format!(
                "driver={format},file.driver=file,file.filename={}",
                image.display()
            ),
            &vhd,
        ],
    );
}

#[test]
fn every_format_becomes_the_same_file() {
    if !have("qemu-img") {
        return;
    }
    let place = Place::new();
    let raw = place.path("disk");
    disks::make(&raw, Table::Esp, 40, 7);
    let upload = ["--local", "upload-vhd", "disk", "-g", "g", "-n", "disk"];
    place.good(&upload);
    let uploaded = fs::read(place.path("azure/disks/g/disk.vhd")).unwrap();
    for (number, (file, format, options)) in IMAGES.into_iter().enumerate() {
        formats::convert(&place, &raw, file, format, options);
        let out = format!("out-{number}.vhd");
        let done = place.good(&["-o", "json", "convert", file, &out]).json();
        assert!(fs::read(place.path(&out)).unwrap() == uploaded, "{file}");
        assert_eq!(done["file"], out);
        let count = |name: &str| done[name].as_u64().unwrap();
        assert_eq!(count("bytes_logical"), (40 << 20) + 512);
        assert_eq!(
            count("bytes_written") + count("bytes_shared") + count("bytes_skipped"),
            count("bytes_logical")
        );
        same(format, &place.path(file), &place.path(&out));
    }
    // What is a fixed VHD already keeps its own footer.
    let done = place.good(&["convert", "out-0.vhd", "copy.vhd"]);
    assert_eq!(done.stdout, "copy.vhd\n");
    assert!(
        done.stderr.contains("wrote 6.01 MiB of 40 MiB"),
        "{}",
        done.stderr
    );
    assert!(fs::read(place.path("copy.vhd")).unwrap() == uploaded);
    assert!(fs::metadata(place.path("copy.vhd")).unwrap().blocks() * 512 < 8 << 20);
}

#[test]
fn disks_beyond_two_tebibytes() {
    if !have("qemu-img") || !have("qemu-io") {
        return;
    }
    let place = Place::new();
    let image = place.path("large.qcow2");
    other(
        "qemu-img",
        &[&"create", &"-q", &"-f", &"qcow2", &image, &"3T"],
    );
    other(
        "qemu-io",
        &[
            &"-c",
            &"write -P 1 0 64k",
            &"-c",
            &"write -P 2 2199023255040 1k",
            &"-c",
            &"write -P 3 3298534882816 512",
            &image,
        ],
    );
    place.good(&["convert", "large.qcow2", "large.vhd"]);
    let vhd = place.path("large.vhd");
    let about = fs::metadata(&vhd).unwrap();
    assert_eq!(about.len(), (3 << 40) + 512);
    assert!(about.blocks() * 512 < 1 << 20, "{}", about.blocks());
    // QEMU refuses fixed VHDs of this size; the disk before the footer is a raw image.
    let said = place.good(&["-o", "json", "inspect", "large.vhd"]).json();
    assert_eq!(said["format"], "fixed-vhd");
    assert_eq!(said["uploadable"], true);
    let raw = place.path("raw");
    fs::rename(&vhd, &raw).unwrap();
    fs::File::options()
        .write(true)
        .open(&raw)
        .unwrap()
        .set_len(3 << 40)
        .unwrap();
    other(
        "qemu-img",
        &[&"compare", &"-f", &"qcow2", &"-F", &"raw", &image, &raw],
    );
}

#[test]
fn what_is_there_stays() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 9);
    place.write("out.vhd", "mine");
    let done = place.run(&["convert", "disk.raw", "out.vhd"]);
    assert_eq!((done.code(), done.stdout.as_str()), (Some(1), ""));
    assert!(
        done.stderr.contains("out.vhd exists already") && done.stderr.contains("--force"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read(place.path("out.vhd")).unwrap(), b"mine");
    place.good(&["convert", "--force", "disk.raw", "out.vhd"]);
    assert_holds(&place.path("out.vhd"), &place.path("disk.raw"));
    // A damaged image is refused before anything is made, with the words of inspect.
    place.write("cut.vhdx", [&b"vhdxfile"[..], &[0; 8184]].concat());
    let done = place.run(&["convert", "cut.vhdx", "no.vhd"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stderr.contains("hint: "), "{}", done.stderr);
    assert_eq!(left(&place), ["cut.vhdx", "disk.raw", "home", "out.vhd"]);
}

fn left(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.root()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn ctrl_c_leaves_nothing() {
    if !have("qemu-img") || !have("qemu-io") {
        return;
    }
    let place = Place::new();
    let raw = place.path("disk");
    // Small in the file, and slow to unpack.
    other(
        "qemu-img",
        &[&"create", &"-q", &"-f", &"raw", &raw, &"384M"],
    );
    other(
        "qemu-io",
        &[&"-f", &"raw", &"-c", &"write -q -P 5 0 384M", &raw],
    );
    formats::convert(&place, &raw, "slow.qcow2", "qcow2", "compression_type=zlib");
    fs::remove_file(&raw).unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = place.start(&["--progress", "json", "convert", "slow.qcow2", "out.vhd"]);
        running.until_it_says("\"transfer\":{\"total\":402653696");
        let stopped = Instant::now();
        running.signal(signal);
        let done = running.finish();
        assert!(stopped.elapsed() < Duration::from_secs(10));
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(130), ""),
            "{done:#?}"
        );
        assert_eq!(left(&place), ["home", "slow.qcow2"]);
    }
}

/// What the shell is given runs in a mount namespace of its own, after this mount there. `None` where nothing may be
/// mounted, which is said.
fn on_a_mount(place: &Place, mount: &str, script: &str) -> Option<std::process::Output> {
    let mut command = std::process::Command::new("unshare");
    // Who is root already need not become it, which is not allowed everywhere.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--mount", "sh", "-ec"])
        .arg(format!(
            "{mount} || {{ echo 'the mount failed' >&2; exit 77; }}\n{script}"
        ))
        .current_dir(place.root())
        .env("HOME", place.path("home"))
        .env("PROGRAM", env!("CARGO_BIN_EXE_azure-nixos"));
    let done = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    // The first is unshare's own.
    if stderr.starts_with("unshare: ") || stderr.ends_with("the mount failed\n") {
        eprintln!("SKIPPED since nothing may be mounted here: {stderr}");
        return None;
    }
    Some(done)
}

/// On a file system that is really full, not on a device that says so.
#[test]
fn a_full_disk_is_said_and_nothing_is_left_on_it() {
    if !have("unshare") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("small")).unwrap();
    // 20 MiB that are all data.
    disks::make(&place.path("disk.raw"), Table::Mbr, 22, 1);
    let before = fs::read(place.path("disk.raw")).unwrap();
    for (output, stays) in [
        ("small/out.vhd", ""),
        ("--force small/old.vhd", "old.vhd\n"),
    ] {
        let script = format!(
            "[ -z '{stays}' ] || echo mine >small/old.vhd\n\
             status=0; \"$PROGRAM\" convert disk.raw {output} || status=$?\n\
             ls -A small; [ -z '{stays}' ] || cat small/old.vhd\n\
             df --output=used small | tail -n 1 >&2\n\
             exit $status"
        );
        let mount = "mount -t tmpfs -o size=8m none small";
        let Some(done) = on_a_mount(&place, mount, &script) else {
            return;
        };
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{stderr}");
        let file = output.trim_start_matches("--force ");
        for words in [
            &format!("error: cannot write {file}"),
            "No space left on device",
            "hint: there is no space left where it is to be; free some, or write elsewhere",
        ] {
            assert!(stderr.contains(words), "{words}: {stderr}");
        }
        // What was there stays, and of what was begun nothing does, named or not.
        let stays = if stays.is_empty() {
            ""
        } else {
            "old.vhd\nmine\n"
        };
        assert_eq!(String::from_utf8(done.stdout).unwrap(), stays, "{stderr}");
        let used: u64 = stderr.lines().last().unwrap().trim().parse().unwrap();
        assert!(used <= 4, "{used} KiB are used still: {stderr}");
    }
    assert!(fs::read(place.path("disk.raw")).unwrap() == before);
}

/// On a file system that can, and compared with what is written where it cannot.
#[test]
fn blocks_are_shared_with_the_image_where_the_file_system_can() {
    if !["unshare", "qemu-img", "mkfs.btrfs"].into_iter().all(have) {
        return;
    }
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Esp, 40, 3);
    // Data that begins and ends within a block, and the end of the disk.
    let raw = fs::File::options()
        .write(true)
        .open(place.path("disk.raw"))
        .unwrap();
    raw.write_all_at(&[7; 70_001], (3 << 20) + 511).unwrap();
    for (file, format, options) in IMAGES {
        formats::convert(&place, &place.path("disk.raw"), file, format, options);
    }
    // The temporary directory may itself be on one; tmpfs is not.
    fs::create_dir(place.path("memory")).unwrap();
    fs::create_dir(place.path("room")).unwrap();
    let names = IMAGES.map(|(file, _, _)| file).join(" ");
    let mount = "mount -t tmpfs none memory && truncate -s 512M memory/disk && mkfs.btrfs -q memory/disk >/dev/null \
        && mount -o loop memory/disk room";
    let script = format!(
        "\"$PROGRAM\" convert disk.raw memory/expected.vhd >/dev/null
         cp memory/expected.vhd enlarged.vhd
         truncate -s 64M enlarged.vhd
         \"$PROGRAM\" convert --repair enlarged.vhd memory/repaired.vhd >/dev/null
         cp --sparse=always disk.raw enlarged.vhd {names} room
         sync -f room
         df --output=used -B1 room | tail -n 1 >used-before
         for image in disk.raw {names}; do
             \"$PROGRAM\" -o json convert room/$image room/$image.out
             cmp memory/expected.vhd room/$image.out
         done
         \"$PROGRAM\" -o json convert --repair room/enlarged.vhd room/repaired.vhd
         cmp memory/repaired.vhd room/repaired.vhd
         sync -f room
         df --output=used -B1 room | tail -n 1 >used-after
         # What is written into the image later stays there.
         yes | head -c 40M >room/disk.raw
         sync -f room
         cmp memory/expected.vhd room/disk.raw.out
         # From another file system there is nothing to share.
         \"$PROGRAM\" -o json convert disk.raw room/apart.out
         cmp memory/expected.vhd room/apart.out"
    );
    let Some(done) = on_a_mount(&place, mount, &script) else {
        return;
    };
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{stderr}");
    let mut all_written = 0;
    let mut seen = Vec::new();
    for shown in serde_json::Deserializer::from_slice(&done.stdout).into_iter() {
        let shown: serde_json::Value = shown.unwrap();
        let count = |name: &str| shown[name].as_u64().unwrap();
        let (written, shared) = (count("bytes_written"), count("bytes_shared"));
        assert_eq!(
            written + shared + count("bytes_skipped"),
            count("bytes_logical")
        );
        let file = shown["file"].as_str().unwrap();
        let file = file.strip_prefix("room/").unwrap().to_owned();
        match file.trim_end_matches(".out") {
            // Each has a bitmap of a sector before it, so that one in eight begins with a block of the file.
            "dynamic.vhd" => assert!(shared < written, "{shared} of {written}"),
            // Packed, and elsewhere.
            "zlib.qcow2" | "zstd.raw" | "apart" => {
                assert_eq!(shared, 0, "{file}");
                assert!(written > 12 << 20, "{file}: {written}");
            }
            // At the edges of the data, and the footer.
            _ => {
                assert!(shared > 12 << 20, "{file}: {shared}");
                assert!(written < 128 << 10, "{file}: {written}");
                assert!(
                    stderr.contains("with the image, which take no room"),
                    "{stderr}"
                );
            }
        }
        if file != "apart.out" {
            all_written += written;
        }
        seen.push(file);
    }
    assert_eq!(seen.len(), IMAGES.len() + 3, "{seen:?}");
    let used = |file| {
        let text = fs::read_to_string(place.path(file)).unwrap();
        text.trim().parse::<u64>().unwrap()
    };
    let grown = used("used-after") - used("used-before");
    let most = all_written + (4 << 20);
    assert!(grown < most, "{grown} bytes more are in use, of {most}");
}

#[test]
fn a_vhd_that_was_enlarged_is_repaired_on_the_way() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Esp, 24, 9);
    place.good(&["convert", "disk.raw", "large.vhd"]);
    let large = fs::File::options()
        .write(true)
        .open(place.path("large.vhd"))
        .unwrap();
    large.set_len(64 << 20).unwrap();
    let raw = fs::File::options()
        .write(true)
        .open(place.path("disk.raw"))
        .unwrap();
    raw.set_len(64 << 20).unwrap();
    let before = fs::read(place.path("large.vhd")).unwrap();

    let done = place.run(&["convert", "large.vhd", "out.vhd"]);
    assert_eq!(done.code(), Some(1));
    assert!(done.stderr.contains("--repair"), "{}", done.stderr);
    let done = place.good(&["convert", "--repair", "large.vhd", "out.vhd"]);
    assert!(
        done.stderr.contains("footer at byte 25165824"),
        "{}",
        done.stderr
    );
    assert_holds(&place.path("out.vhd"), &place.path("disk.raw"));
    let upload = [
        "--local",
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "large.vhd",
    ];
    assert_eq!(place.run(&upload).code(), Some(1));
    place.good(&[&upload[..], &["--repair"]].concat());
    assert_holds(&place.image("g", "web"), &place.path("disk.raw"));
    assert!(fs::read(place.path("large.vhd")).unwrap() == before);
    let said = place.good(&["inspect", "--repair", "large.vhd"]).stdout;
    assert!(said.contains("repaired on the way"), "{said}");
    assert!(said.contains("uploadable   yes"), "{said}");
}
