use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::ByteSize;
use crate::disk::partition::fixtures::{ESP, Gpt, LINUX};
use crate::disk::{
    DiskImage, InspectOptions, MemoryImage, OpenOptions, Opening, content_checksum,
    content_identity, inspect, inspect_with,
};
use crate::progress::Phase;

const SIZE: u64 = 40 << 20;

/// The tools that pack, as people have them, with the options that leave their mark on the stream.
const TOOLS: [(&str, &[&str], Format); 6] = [
    ("gzip", &["-1"], Format::Gzip),
    ("xz", &["-0"], Format::Xz),
    (
        "xz",
        &["-0", "--block-size=1MiB", "--check=sha256"],
        Format::Xz,
    ),
    ("xz", &["-0", "--check=none"], Format::Xz),
    ("zstd", &["-1"], Format::Zstd),
    ("zstd", &["-3", "--long=27"], Format::Zstd),
];

/// Packs with a tool, or says aloud that it is not there.
fn pack(tool: &str, options: &[&str], content: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(tool)
        .args(options)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: there is no {tool}");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let packed = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(content).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(packed.status.success());
    Some(packed.stdout)
}

/// A disk with a table, noise at the edges of pieces, and long zeros.
fn disk() -> MemoryImage {
    let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
    let noise: Vec<u8> = (0u32..200_000)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for at in [(4 << 20) - 1000, 9 << 20, (32 << 20) + 12_345] {
        disk.write(at, &noise).unwrap();
    }
    disk
}

fn bytes(disk: &dyn DiskSource) -> Vec<u8> {
    let mut all = vec![0; disk.virtual_size() as usize];
    disk.read_exact_at(&mut all, 0).unwrap();
    all
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn kind(path: &Path) -> (FindingKind, String) {
    let report = inspect(path, InspectOptions::quick()).unwrap();
    let problem = report.problems().next().unwrap().clone();
    let error = DiskImage::open(path).unwrap_err();
    assert_eq!(error.to_string(), problem.what);
    (problem.kind, problem.what)
}

#[test]
fn every_packing_of_raw_and_vhd_is_the_same_disk() {
    let (place, plain) = (Place::new(), disk());
    let raw = bytes(&plain);
    let footer = Footer::fixed(SIZE, 7);
    let vhd = [&raw[..], footer.bytes()].concat();
    for (number, (tool, options, format)) in TOOLS.into_iter().enumerate() {
        for (inside, content) in [(Format::Raw, &raw), (Format::FixedVhd, &vhd)] {
            let Some(packed) = pack(tool, options, content) else {
                continue;
            };
            let path = place.write(&format!("{number}.img"), &packed);
            let image = DiskImage::open(&path).unwrap();
            assert_eq!((image.format(), image.virtual_size()), (format, SIZE));
            assert!(image.is_sequential());
            let identity = plain.identity().unwrap();
            assert_eq!(image.known_identity().unwrap(), identity);
            assert_eq!(content_identity(&image).unwrap(), identity);
            let unnamed = OpenOptions::new().identity(false);
            let unnamed = DiskImage::open_with(&path, &unnamed).unwrap();
            assert_eq!(unnamed.known_identity(), None);
            assert_eq!(unnamed.identity().unwrap(), identity);
            assert_eq!(
                content_checksum(&unnamed).unwrap(),
                content_checksum(&plain).unwrap()
            );
            let own = (inside == Format::FixedVhd).then_some(*footer.bytes());
            assert_eq!(image.footer().unwrap(), own);
            assert!(bytes(&image) == raw);
            // Backwards too, although nobody should.
            for start in (0..SIZE).rev().step_by(7_654_321) {
                let mut some = vec![1; 5000.min((SIZE - start) as usize)];
                image.read_exact_at(&mut some, start).unwrap();
                assert!(some[..] == raw[start as usize..][..some.len()], "{start}");
            }
            assert!(image.read_exact_at(&mut [0; 512], SIZE).is_err());

            let report = inspect(&path, InspectOptions::full()).unwrap();
            assert!(report.uploadable, "{:?}", report.findings);
            assert_eq!((report.format, report.inside), (format, Some(inside)));
            assert_eq!(report.generations.preferred(), Some(crate::Generation::V2));
            let found = report.content.unwrap();
            let stored = raw
                .chunks(512)
                .filter(|page| page.iter().any(|&byte| byte != 0));
            assert_eq!(
                found.data - found.zeros.unwrap(),
                stored.count() as u64 * 512
            );
            assert_eq!(found.data + found.holes, SIZE);
            assert!(found.data < 3 << 20, "{found:?}");
        }
    }
}

#[test]
fn streams_of_several_parts_are_one_disk() {
    let (place, raw) = (Place::new(), bytes(&disk()));
    let (one, two) = raw.split_at(17 << 20);
    // Four bytes that say how much is skipped; padding of an xz file comes in fours.
    let skipped = [&0x184d_2a53_u32.to_le_bytes()[..], &[3, 0, 0, 0], b"abc"].concat();
    for (tool, between) in [("gzip", &[][..]), ("xz", &[0; 8]), ("zstd", &skipped[..])] {
        let (Some(one), Some(two)) = (pack(tool, &["-1"], one), pack(tool, &["-1"], two)) else {
            continue;
        };
        let path = place.write(tool, &[&one[..], between, &two].concat());
        assert!(bytes(&DiskImage::open(&path).unwrap()) == raw, "{tool}");
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_refused_with_its_place() {
    let (place, raw) = (Place::new(), bytes(&disk()));
    for (tool, options, _) in TOOLS {
        let Some(packed) = pack(tool, options, &raw) else {
            continue;
        };
        for cut in [packed.len() - 1, packed.len() - 9, packed.len() / 2, 20] {
            let (kind, what) = kind(&place.write("cut", &packed[..cut]));
            assert_eq!(kind, FindingKind::Truncated, "{tool} {cut}: {what}");
            assert!(what.contains(&format!("ends at byte {cut} ")), "{what}");
        }
        // What has no checksum at all cannot tell.
        if options.contains(&"--check=none") {
            continue;
        }
        for at in (30..packed.len()).step_by(packed.len() / 23) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x10;
            match DiskImage::open(place.write("damaged", &damaged)) {
                // Some bits say nothing of the content, such as the time in gzip's header.
                Ok(image) => assert!(bytes(&image) == raw, "{tool} {at}"),
                Err(error) => {
                    assert!(
                        error.to_string().contains("at byte"),
                        "{tool} {at}: {error}"
                    );
                    assert_eq!(error.kind(), ErrorKind::InvalidImage);
                }
            }
        }
    }
}

#[test]
fn what_holds_more_than_it_should_is_not_unpacked_to_its_end() {
    let place = Place::new();
    let zeros = vec![0; 300 << 20];
    for tool in ["gzip", "xz", "zstd"] {
        let Some(packed) = pack(tool, &["-1"], &zeros) else {
            continue;
        };
        let path = place.write(tool, &packed);
        let sized = |mib: u64| OpenOptions::new().virtual_size(ByteSize::bytes(mib << 20));
        let report = inspect_with(&path, InspectOptions::quick(), &sized(20)).unwrap();
        assert_eq!(report.findings[0].kind, FindingKind::TooLarge, "{tool}");
        let error = DiskImage::open_with(&path, &sized(299)).unwrap_err();
        assert!(
            error.to_string().contains("holds more than 299 MiB"),
            "{error}"
        );
        DiskImage::open_with(&path, &sized(300)).unwrap();
        let error = DiskImage::open_with(&path, &sized(301)).unwrap_err();
        assert!(
            error.to_string().contains("314572800 bytes, and 315621376"),
            "{error}"
        );
        let report = inspect(&path, InspectOptions::quick()).unwrap();
        // From a pipe, only xz has a place for the size.
        let unknown = report.findings.iter().any(|one| {
            one.kind == FindingKind::UnknownSize && one.remedy.contains("--virtual-size")
        });
        assert_eq!(unknown, tool != "xz", "{:?}", report.findings);
    }
}

#[test]
fn a_frame_that_lies_about_its_size_is_refused() {
    let Some(packed) = pack("zstd", &["-1", "--stream-size=41943040"], &bytes(&disk())) else {
        return;
    };
    let place = Place::new();
    let good = place.write("good", &packed);
    let report = inspect(good, InspectOptions::quick()).unwrap();
    assert_eq!(report.problems().count(), 0);
    // Four bytes of size follow the descriptor and the window.
    let size = packed[6..10].try_into().map(u32::from_le_bytes).unwrap();
    assert_eq!(u64::from(size), SIZE);
    for (said, why) in [(SIZE - 512, "holds more"), (SIZE + 512, "holds 41943040")] {
        let mut lie = packed.clone();
        lie[6..10].copy_from_slice(&(said as u32).to_le_bytes());
        let (kind, what) = kind(&place.write("lie", &lie));
        assert_eq!(kind, FindingKind::DamagedStream);
        assert!(what.contains(why), "{what}");
    }
}

#[test]
fn names_decide_nothing() {
    let Some(packed) = pack("gzip", &["-1"], &bytes(&disk())) else {
        return;
    };
    let place = Place::new();
    let path = place.write("disk.vhd", &packed);
    let image = DiskImage::open(&path).unwrap();
    let said = image
        .notes()
        .iter()
        .find(|one| one.kind == FindingKind::MisleadingName);
    assert!(
        said.unwrap()
            .what
            .ends_with("is named .vhd, but is compressed with gzip"),
        "{said:?}"
    );
    assert!(bytes(&image) == bytes(&disk()));
}

#[test]
fn what_is_inside_is_judged_too() {
    let place = Place::new();
    let raw = bytes(&disk());
    let mut qcow2 = vec![0; 1 << 20];
    qcow2[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    let mut dynamic = vec![0; 1 << 20];
    dynamic[..8].copy_from_slice(b"conectix");
    let mut checksum = *Footer::fixed(SIZE, 7).bytes();
    checksum[100] ^= 1;
    let larger = Footer::fixed(2 * SIZE, 7);
    for (content, expected, said) in [
        (
            qcow2,
            FindingKind::UnsupportedFormat,
            "is a qcow2 image, compressed with gzip",
        ),
        (
            dynamic,
            FindingKind::UnsupportedFormat,
            "is a dynamic VHD image, compressed",
        ),
        (
            pack("gzip", &[], &raw).unwrap_or_default(),
            FindingKind::UnsupportedFormat,
            "is compressed twice: with gzip, and what comes out with gzip",
        ),
        (
            raw[..12_345].to_vec(),
            FindingKind::UnalignedSize,
            "holds 12345 bytes",
        ),
        (
            [&raw[..], &checksum].concat(),
            FindingKind::DamagedFooter,
            "has the checksum",
        ),
        (
            [&raw[..], larger.bytes()].concat(),
            FindingKind::DamagedFooter,
            "says that the disk has",
        ),
        (
            larger.bytes().to_vec(),
            FindingKind::UnsupportedFormat,
            "is a dynamic VHD",
        ),
    ] {
        let Some(packed) = pack("gzip", &["-1"], &content) else {
            return;
        };
        let path = place.write("inside", &packed);
        let (kind, what) = kind(&path);
        assert_eq!(kind, expected, "{what}");
        assert!(what.contains(said), "{what}");
        let repaired = DiskImage::open_with(&path, &OpenOptions::new().repair(true));
        let mends = said == "has the checksum";
        assert_eq!(repaired.is_ok(), mends, "{repaired:?}");
        if let Ok(image) = repaired {
            assert_eq!(image.footer().unwrap(), None);
            assert!(bytes(&image) == raw);
        }
    }
}

#[test]
fn a_file_that_changes_is_seen() {
    let (Some(one), Some(two)) = (
        pack("zstd", &["-1"], &bytes(&disk())),
        pack("zstd", &["-1"], &vec![0; 20 << 20]),
    ) else {
        return;
    };
    let place = Place::new();
    let path = place.write("disk", &one);
    let image = DiskImage::open(&path).unwrap();
    // The same file, with less in it.
    let padded = [&two[..], &vec![0; one.len() - two.len()]].concat();
    fs::write(&path, &padded).unwrap();
    let mut some = [0; 512];
    assert!(image.read_exact_at(&mut some, 30 << 20).is_err());
}

/// A file that holds so much that nobody waits for its end: the same frame of zeros again and again.
fn endless(place: &Place) -> Option<PathBuf> {
    let frame = pack("zstd", &[], &vec![0; 16 << 20])?;
    Some(place.write("endless", &frame.repeat(64 << 10)))
}

/// Longer than a piece takes on the busiest machine, and much shorter than the file.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_first_pass_says_how_far_it_is_and_stops_when_it_is_not_wanted() {
    let place = Place::new();
    let Some(path) = endless(&place) else { return };
    let length = path.metadata().unwrap().len();
    let mut handle = Opening::new(&path).start();
    let mut last = 0;
    let mut told = 0;
    while told < 3 {
        let progress = handle.progress().changed().await.unwrap();
        if let Some(reading) = progress.reading {
            assert_eq!(progress.phase, Phase::Inspecting);
            assert_eq!(reading.total, length);
            assert!((last..length).contains(&reading.read), "{reading:?}");
            told += u32::from(reading.read > last);
            last = reading.read;
        }
    }
    handle.cancel();
    // The handle waits for the thread, so that it has ended by now.
    let error = tokio::time::timeout(SOON, handle.join()).await.unwrap();
    assert!(error.unwrap_err().is_cancelled());
}

/// A runtime that is shut down waits for the threads that block.
#[test]
fn a_first_pass_that_is_dropped_ends_its_thread() {
    let place = Place::new();
    let Some(endless) = endless(&place) else {
        return;
    };
    // Something of 3 GiB that is to be skipped, 32 times: nothing of it comes out.
    let frame = pack("zstd", &[], &vec![0; 1 << 20]).unwrap();
    let skipped = place.write("skipped", &frame);
    let file = File::options().write(true).open(&skipped).unwrap();
    let mut at = frame.len() as u64;
    for _ in 0..32 {
        let header = [&[0x50, 0x2a, 0x4d, 0x18][..], &(3_u32 << 30).to_le_bytes()].concat();
        file.write_all_at(&header, at).unwrap();
        at += 8 + (3 << 30);
    }
    file.set_len(at).unwrap();
    for path in [endless, skipped] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut handle = Opening::new(&path).start();
            while handle.progress().current().reading.is_none() {
                handle.progress().changed().await.unwrap();
            }
        });
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < SOON, "{}", path.display());
    }
}

/// What is unpacked another way is named with the commands that make a disk image of it.
#[test]
fn what_else_is_inside_is_named_with_the_whole_way_out() {
    let place = Place::new();
    let at = |offset: usize, magic: &[u8]| {
        let mut content = vec![0; 64 << 10];
        content[offset..offset + magic.len()].copy_from_slice(magic);
        content
    };
    let mut tar = at(257, b"ustar");
    tar[..8].copy_from_slice(b"disk.raw");
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    for (content, what, ways) in [
        (
            at(0, b"vhdxfile"),
            "is a VHDX image, compressed",
            &["`gzip -dc inside.gz > disk.img`", "use the result"][..],
        ),
        (
            at(0, b"KDMV"),
            "is a VMDK image, compressed",
            &[
                "`gzip -dc inside.gz > disk.img`",
                "`qemu-img convert -f vmdk -O raw disk.img disk.raw`",
            ],
        ),
        (
            tar,
            "is a tar archive, compressed",
            &["`tar -xf inside.gz`"],
        ),
        (
            at(0x8001, b"CD001"),
            "is an ISO 9660 image",
            &["install a system from it"],
        ),
        (
            at(0, b"PK\x03\x04"),
            "is a zip archive",
            &["`gzip -dc inside.gz > disk.img`", "`unzip disk.img`"],
        ),
    ] {
        let Some(packed) = pack("gzip", &["-1"], &content) else {
            return;
        };
        let path = place.write("inside.gz", &packed);
        let (kind, said) = kind(&path);
        assert_eq!(kind, FindingKind::UnsupportedFormat, "{said}");
        assert!(said.contains(what), "{what}: {said}");
        let error = DiskImage::open(&path).unwrap_err();
        let hint = error
            .hint()
            .unwrap()
            .replace(&format!("{}/", place.0.path().display()), "");
        for way in ways {
            assert!(hint.contains(way), "{way}: {hint}");
        }
    }
}
