//! QEMU as the judge of what is in an image: it writes patterns into one and says what it reads.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use azure_nixos::disk::{DiskImage, DiskSource};
use azure_nixos_tests::content::data_from;
use azure_nixos_tests::disks::Noise;
use azure_nixos_tests::tools;

/// Bytes that are compared at a time.
const CHUNK: u64 = 1 << 20;

/// `qemu-img` and `qemu-io`, and a directory for what they make.
pub(crate) struct Qemu {
    img: PathBuf,
    io: PathBuf,
    place: tempfile::TempDir,
}

impl Qemu {
    /// `None`, said loudly, where they are not installed.
    pub(crate) fn find() -> Option<Self> {
        Some(Self {
            img: tools::find("qemu-img")?,
            io: tools::find("qemu-io")?,
            place: tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn img(&self, arguments: &[&str], paths: &[&Path]) -> String {
        tools::run(Command::new(&self.img).args(arguments).args(paths))
    }

    /// An empty image of so many bytes.
    pub(crate) fn create(&self, name: &str, format: &str, options: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        let mut command = Command::new(&self.img);
        command.args(["create", "-q", "-f", format]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        tools::run(command.arg(&path).arg(size.to_string()));
        path
    }

    /// Runs commands of `qemu-io` on an image.
    pub(crate) fn io(&self, format: &str, image: &Path, commands: &[String]) {
        let mut command = Command::new(&self.io);
        command.args(["-f", format]);
        for one in commands {
            command.args(["-c", one]);
        }
        let said = tools::run(command.arg(image));
        assert!(!said.contains("failed"), "{commands:?}: {said}");
    }

    /// What QEMU reads in an image, as a raw file with holes.
    pub(crate) fn raw(&self, format: &str, image: &Path) -> PathBuf {
        let raw = image.with_added_extension("raw");
        self.img(&["convert", "-f", format, "-O", "raw"], &[image, &raw]);
        raw
    }

    /// Checks that an image holds for us what it holds for QEMU.
    pub(crate) fn agrees(&self, format: &str, image: &Path) -> DiskImage {
        let raw = self.raw(format, image);
        let ours = DiskImage::open(image).unwrap_or_else(|error| panic!("{}", error.report()));
        assert_same(&ours, &raw);
        std::fs::remove_file(raw).unwrap();
        ours
    }
}

/// Commands that write patterns, zeros and discards at random places of a disk: at its ends and
/// around multiples of `around` more often than elsewhere.
pub(crate) fn scribble(noise: &mut Noise, size: u64, around: u64, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| {
            let place = match noise.below(4) {
                0 => noise.below(size),
                1 => size.saturating_sub(noise.below(around.min(size))),
                _ => noise.below(size.div_ceil(around) + 1) * around,
            };
            let at = place.saturating_sub(noise.below(2) * noise.below(4096));
            // Sectors, mostly, as a guest writes.
            let at = at.min(size - 512) / 512 * 512;
            let longest =
                (size - at).min([1024, 70_000, (3 * around).min(8 << 20)][noise.below(3) as usize]);
            let length = (1 + noise.below(longest)).div_ceil(512) * 512;
            let length = length.min(size - at);
            match noise.below(8) {
                0 => format!("write -z {at} {length}"),
                1 => format!("discard {at} {length}"),
                _ => format!("write -P {} {at} {length}", 1 + noise.below(255)),
            }
        })
        .collect()
}

/// Checks a disk against a raw file of QEMU's, byte by byte: what is in no extent must be zeros
/// there.
pub(crate) fn assert_same(ours: &dyn DiskSource, raw: &Path) {
    let raw = File::open(raw).unwrap();
    let size = raw.metadata().unwrap().len();
    assert_eq!(ours.virtual_size(), size, "size of the disk");
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut at, mut known) = (0, 0..0);
    loop {
        if known.end <= at {
            known = ours.next_extent(at).unwrap().unwrap_or(size..size);
            assert!(known.start >= at && known.end <= size);
        }
        let theirs = data_from(&raw, at).map_or(size, |data| data.start);
        at = at.max(known.start.min(theirs));
        if at >= size {
            return;
        }
        // Up to the end of the extent, or of the hole before it.
        let end = if known.start > at {
            known.start
        } else {
            known.end
        };
        let length = (end - at).min(CHUNK) as usize;
        left.clear();
        left.resize(length, 0);
        if known.start <= at {
            left.fill(0xaa);
            ours.read_exact_at(&mut left, at).unwrap();
        }
        right.resize(length, 0);
        raw.read_exact_at(&mut right, at).unwrap();
        if left != right {
            let off = left.iter().zip(&right).position(|(l, r)| l != r).unwrap();
            panic!(
                "the first difference is at byte {}: {} here, {} for QEMU",
                at + off as u64,
                left[off],
                right[off]
            );
        }
        assert_stored(ours, at, &right);
        at += length as u64;
    }
}

/// Checks that what is said to lie in a file as it is does.
fn assert_stored(ours: &dyn DiskSource, offset: u64, disk: &[u8]) {
    let mut at = 0;
    while at < disk.len() {
        let Some(stored) = ours.stored_at(offset + at as u64).unwrap() else {
            return;
        };
        let end = disk.len().min((stored.end - offset) as usize);
        assert!(end > at, "nothing is stored at {}", offset + at as u64);
        let file = File::from(stored.file.try_clone_to_owned().unwrap());
        let mut bytes = vec![0; end - at];
        file.read_exact_at(&mut bytes, stored.offset).unwrap();
        assert!(bytes == disk[at..end], "{stored:?}");
        at = end;
    }
}

/// Reads at random places, across whatever lies there, holes too.
pub(crate) fn assert_reads(ours: &dyn DiskSource, raw: &Path, noise: &mut Noise) {
    let raw = File::open(raw).unwrap();
    let size = ours.virtual_size();
    for _ in 0..20 {
        let at = noise.below(size);
        let length = (1 + noise.below(300_000)).min(size - at) as usize;
        let (mut left, mut right) = (vec![0xaa; length], vec![0; length]);
        ours.read_exact_at(&mut left, at).unwrap();
        raw.read_exact_at(&mut right, at).unwrap();
        assert!(left == right, "{length} bytes at {at} differ");
    }
}

/// A seed that differs from run to run, printed, or the one in `AZURE_NIXOS_SEED`.
pub(crate) fn seed(what: &str) -> u64 {
    let seed = std::env::var("AZURE_NIXOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| {
            let now = std::time::SystemTime::now();
            let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_nanos() as u64
        });
    eprintln!("{what}: AZURE_NIXOS_SEED={seed}");
    seed
}
