use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::output::BLOCK;
use super::*;
use crate::disk::checksum::crc64;
use crate::disk::{DiskImage, Identified, MemoryImage, upload_footer};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// 70 MiB and a sector, with data at the edges of pieces and of blocks.
fn disk() -> MemoryImage {
    let mut disk = MemoryImage::new((70 << 20) + 512).unwrap();
    disk.write(0, b"first").unwrap();
    disk.write((4 << 20) - 3, b"over the edge").unwrap();
    disk.write((9 << 20) + 4095, &[7; 2]).unwrap();
    disk.write(70 << 20, &[9; 512]).unwrap();
    disk
}

fn content(disk: &MemoryImage) -> Vec<u8> {
    let mut all = vec![0; disk.virtual_size() as usize];
    disk.read_exact_at(&mut all, 0).unwrap();
    all
}

#[test]
fn the_file_is_what_an_upload_would_write_and_is_sparse() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    let done = Conversion::new(disk(), &target).run().unwrap();
    let mut expected = content(&disk());
    expected.resize(71 << 20, 0);
    expected.extend_from_slice(&upload_footer(&disk()).unwrap());
    assert!(fs::read(&target).unwrap() == expected);
    assert_eq!(names(place.path()), ["out.vhd"]);
    assert_eq!(done.bytes_logical, expected.len() as u64);
    // Six blocks hold data, the last of them a sector only; and the footer.
    assert_eq!(done.bytes_written, 5 * 4096 + 512 + 512);
    assert_eq!(done.bytes_written + done.bytes_skipped, done.bytes_logical);
    let kept = fs::metadata(&target).unwrap().blocks() * 512;
    assert!(kept < 1 << 20, "{kept} bytes are kept");

    let again = place.path().join("again.vhd");
    let read_back = DiskImage::open(&target).unwrap();
    Conversion::new(read_back, &again).run().unwrap();
    assert!(fs::read(&again).unwrap() == expected, "the same bytes");
}

#[test]
fn the_footer_is_that_of_the_content_whatever_its_name() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    let named = Identified::new(disk(), "/nix/store/x-image");
    Conversion::new(named, &target).run().unwrap();
    let mut whole = content(&disk());
    whole.resize(71 << 20, 0);
    let footer = Footer::fixed(71 << 20, crc64(&whole));
    assert!(fs::read(&target).unwrap().ends_with(footer.bytes()));
}

#[test]
fn a_footer_that_is_brought_along_stays_and_a_wrong_one_is_refused_at_once() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    let own = *Footer::fixed(64 << 20, 7).bytes();
    let disk = |size| MemoryImage::new(size).unwrap().with_footer(own);
    let error = Conversion::new(disk(65 << 20), &target).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    assert_eq!(names(place.path()), [""; 0]);
    Conversion::new(disk(64 << 20), &target).run().unwrap();
    assert!(fs::read(&target).unwrap().ends_with(&own));
}

#[test]
fn what_exists_stays_unless_it_is_to_be_replaced() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    fs::write(&target, "mine").unwrap();
    let error = Conversion::new(disk(), &target).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert_eq!(names(place.path()), ["out.vhd"]);
    // One that comes into being meanwhile stays too.
    fs::remove_file(&target).unwrap();
    let part = Part::create(&target, false).unwrap();
    fs::write(&target, "mine too").unwrap();
    let error = part.finish(false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&target).unwrap(), b"mine too");
    assert_eq!(names(place.path()), ["out.vhd"]);

    let forced = Conversion::new(disk(), &target).overwrite(true);
    forced.run().unwrap();
    assert_eq!(fs::metadata(&target).unwrap().len(), (71 << 20) + 512);
    let forced = |target: &Path| Conversion::new(disk(), target).overwrite(true).run();
    let error = forced(place.path()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let error = forced(&place.path().join("no/out.vhd")).unwrap_err();
    assert!(error.hint().unwrap().contains("must exist"), "{error}");
    assert_eq!(names(place.path()), ["out.vhd"]);
}

#[test]
fn a_full_disk_is_named_and_nothing_is_left() {
    // Every write to this device fails as on a full disk.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    let mut part = Part::create(&target, false).unwrap();
    part.output = Output::new(full, None);
    let error = part
        .work(|output| output.write(&[1; BLOCK], 0))
        .unwrap_err();
    assert!(error.to_string().starts_with("cannot write"), "{error}");
    assert!(error.hint().unwrap().contains("no space left"), "{error:?}");
    drop(part);
    assert_eq!(names(place.path()), [""; 0]);
}

/// A disk that cannot be read to its end, or changes.
#[derive(Debug)]
struct Faulty {
    fails: bool,
    asked: AtomicU64,
}

impl DiskSource for Faulty {
    fn virtual_size(&self) -> u64 {
        64 << 20
    }
    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        Ok((from < 64 << 20).then_some(from..64 << 20))
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        buffer.fill(1);
        if self.fails && offset >= 32 << 20 {
            return Err(Error::new(ErrorKind::Io, "bad sector"));
        }
        Ok(())
    }
    fn fingerprint(&self) -> Result<String> {
        Ok(self.asked.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

#[test]
fn a_source_that_fails_or_changes_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    for (fails, said) in [(true, "bad sector"), (false, "changed while")] {
        let asked = AtomicU64::new(0);
        let source = Faulty { fails, asked };
        let error = Conversion::new(source, &target).run().unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(names(place.path()), [""; 0]);
    }
}

/// A disk without an end for practical purposes, of data.
#[derive(Debug)]
struct Endless;

impl DiskSource for Endless {
    fn virtual_size(&self) -> u64 {
        1 << 40
    }
    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        Ok((from < 1 << 40).then_some(from..1 << 40))
    }
    fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> Result<()> {
        buffer.fill(0);
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }
    fn fingerprint(&self) -> Result<String> {
        Ok("endless".to_owned())
    }
}

#[tokio::test]
async fn cancelling_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("out.vhd");
    let mut handle = Conversion::new(Endless, &target).start();
    loop {
        let progress = handle.progress().changed().await.unwrap();
        assert!(progress.phase <= Phase::Converting);
        if progress
            .transfer
            .is_some_and(|transfer| transfer.skipped > 0)
        {
            break;
        }
    }
    assert_eq!(names(place.path()).len(), 1);
    handle.cancel();
    assert!(handle.join().await.unwrap_err().is_cancelled());
    assert_eq!(names(place.path()), [""; 0]);
}
