//! Comparing disks by what is in them. Holes cost nothing on either side.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

const CHUNK: u64 = 1 << 20;
const MIB: u64 = 1 << 20;
const FOOTER: u64 = 512;
const SMALLEST: u64 = 20 * MIB;

/// The length of the VHD that a disk of this size becomes.
#[must_use]
pub fn vhd_length(size: u64) -> u64 {
    size.next_multiple_of(MIB).max(SMALLEST) + FOOTER
}

/// Checks that `uploaded` is a fixed VHD of the first `size` bytes of `source`: those bytes, zeros up
/// to the rounded size, and a footer that says so.
///
/// # Panics
/// With the first byte that differs.
pub fn assert_uploaded(source: &Path, size: u64, uploaded: &Path) {
    let (source, uploaded) = (open(source), open(uploaded));
    let length = uploaded.metadata().unwrap().len();
    assert_eq!(length, vhd_length(size), "length of the uploaded disk");
    assert_equal(&source, size, &uploaded, length - FOOTER);
    let mut footer = [0; FOOTER as usize];
    uploaded
        .read_exact_at(&mut footer, length - FOOTER)
        .unwrap();
    assert_footer(&footer, length - FOOTER);
}

/// The same for a disk that is in memory as a whole.
///
/// # Panics
/// With the first byte that differs.
pub fn assert_uploaded_bytes(content: &[u8], uploaded: &[u8]) {
    let length = uploaded.len() as u64;
    assert_eq!(length, vhd_length(content.len() as u64));
    let (body, footer) = uploaded.split_at(uploaded.len() - FOOTER as usize);
    for (at, (got, expected)) in body
        .iter()
        .zip(content.iter().chain(std::iter::repeat(&0)))
        .enumerate()
    {
        assert_eq!(got, expected, "the uploaded disk differs at byte {at}");
    }
    assert_footer(footer.try_into().unwrap(), length - FOOTER);
}

/// Checks the footer of a fixed VHD against its published layout, without the library's own reading.
///
/// # Panics
/// With the field that is wrong.
pub fn assert_footer(footer: &[u8; 512], size: u64) {
    let word = |at: usize| u32::from_be_bytes(footer[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_be_bytes(footer[at..at + 8].try_into().unwrap());
    assert_eq!(&footer[..8], b"conectix", "cookie");
    assert_eq!(word(12), 0x1_0000, "version of the format");
    assert_eq!(long(16), u64::MAX, "offset of a fixed disk");
    assert_eq!((long(40), long(48)), (size, size), "original, current size");
    assert_eq!(word(60), 2, "type: fixed");
    let sum: u32 = footer
        .iter()
        .enumerate()
        .filter(|(at, _)| !(64..68).contains(at))
        .map(|(_, byte)| u32::from(*byte))
        .sum();
    assert_eq!(word(64), !sum, "checksum");
    assert_ne!(footer[68..84], [0; 16], "unique id");
}

/// Checks that two disks hold the same: the first `a_size` bytes and the first `b_size` bytes, the
/// shorter one as if zeros followed.
fn assert_equal(a: &File, a_size: u64, b: &File, b_size: u64) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut at = 0;
    let end = a_size.max(b_size);
    while at < end {
        // Where both have a hole there is nothing to compare.
        let next = [(a, a_size), (b, b_size)]
            .into_iter()
            .filter_map(|(file, size)| data_from(file, at).filter(|data| data.start < size))
            .map(|data| data.start)
            .min();
        let Some(next) = next else {
            return;
        };
        at = next.max(at);
        let length = (end - at).min(CHUNK);
        read_padded(a, a_size, at, length, &mut left);
        read_padded(b, b_size, at, length, &mut right);
        if left != right {
            let off = left.iter().zip(&right).position(|(l, r)| l != r).unwrap();
            panic!("the disks differ at byte {}", at + off as u64);
        }
        at += length;
    }
}

/// Bytes of a disk that ends at `size`, with zeros after that.
fn read_padded(file: &File, size: u64, at: u64, length: u64, into: &mut Vec<u8>) {
    into.clear();
    into.resize(length as usize, 0);
    let there = size.saturating_sub(at).min(length) as usize;
    file.read_exact_at(&mut into[..there], at).unwrap();
}

/// The first range of data in a file at or after `from`.
///
/// # Panics
/// When the file system cannot tell.
#[must_use]
pub fn data_from(file: &File, from: u64) -> Option<Range<u64>> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(start) => Some(start..seek(file, SeekFrom::Hole(start)).unwrap()),
        Err(Errno::NXIO) => None,
        Err(error) => panic!("{}", io::Error::from(error)),
    }
}

fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_wherever_it_is() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, length: u64, bytes: &[(u64, &[u8])]| {
            let file = File::create_new(place.path().join(name)).unwrap();
            file.set_len(length).unwrap();
            for (at, bytes) in bytes {
                file.write_all_at(bytes, *at).unwrap();
            }
            open(&place.path().join(name))
        };
        let a = make("a", 8 << 20, &[(5 << 20, b"data")]);
        let same = make("b", 9 << 20, &[(5 << 20, b"data")]);
        assert_equal(&a, 8 << 20, &same, 9 << 20);
        for (name, at) in [("c", 0), ("d", (5 << 20) + 3), ("e", (9 << 20) - 1)] {
            let other = make(name, 9 << 20, &[(5 << 20, b"data"), (at, b"x")]);
            let differs = std::panic::catch_unwind(|| assert_equal(&a, 8 << 20, &other, 9 << 20));
            assert!(differs.is_err(), "{name}");
        }
    }
}
