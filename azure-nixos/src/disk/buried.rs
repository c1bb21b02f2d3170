//! The search for a VHD footer that is not at the end of its file.
//!
//! It happens when a finished VHD is enlarged: the footer stays where it was, zeros follow, the
//! size is still a whole number of MiB, and nothing complains before Azure does. A footer counts
//! only if it is whole and speaks of exactly the bytes before it, so that a VHD which lies as a
//! file inside a disk is not mistaken for one.

use super::file::ImageFile;
use super::limits::{FOOTER, MIB, SECTOR};
use super::partition::possible_ends;
use super::vhd::{DiskType, Footer};
use crate::Result;

/// Bytes before the last data that are searched sector by sector. Reading them takes some
/// hundredths of a second.
const WINDOW: u64 = 64 * MIB;
/// Whole MiB before that window at which one sector each is read, since most disks are a whole
/// number of MiB, beside the places that the partition table points at. More would take seconds on
/// a rotating disk.
const STEPS: u64 = 1024;

/// Finds a footer inside the file and returns its offset.
pub(super) fn find(file: &ImageFile) -> Result<Option<(u64, Footer)>> {
    let end = last_data(file)?;
    let bottom = end.saturating_sub(WINDOW) / SECTOR * SECTOR;
    let mut found = None;
    let mut buffer = vec![0; MIB as usize];
    let mut at = bottom;
    while let Some(extent) = file.next_data(at, end)? {
        let start = extent.start / SECTOR * SECTOR;
        let stop = extent
            .end
            .next_multiple_of(SECTOR)
            .min(start + MIB)
            .min(file.length());
        let chunk = &mut buffer[..(stop - start) as usize];
        file.read_exact_at(chunk, start)?;
        let (sectors, _) = chunk.as_chunks::<512>();
        for (number, sector) in sectors.iter().enumerate() {
            let offset = start + number as u64 * SECTOR;
            found = footer_of(offset, sector)
                .map(|footer| (offset, footer))
                .or(found);
        }
        at = stop;
    }
    if found.is_some() {
        return Ok(found);
    }
    let mut sector = [0; 512];
    // The file can be shorter than a sector.
    if file.length() < SECTOR {
        return Ok(None);
    }
    file.read_exact_at(&mut sector, 0)?;
    let mut places = possible_ends(&sector);
    places.extend((0..STEPS).map_while(|step| Some((bottom / MIB).checked_sub(step)? * MIB)));
    for offset in places {
        let end = offset.saturating_add(FOOTER);
        if end > file.length() || file.first_data(offset, end)?.is_none() {
            continue;
        }
        file.read_exact_at(&mut sector, offset)?;
        if let Some(footer) = footer_of(offset, &sector) {
            return Ok(Some((offset, footer)));
        }
    }
    Ok(None)
}

fn footer_of(offset: u64, sector: &[u8; 512]) -> Option<Footer> {
    if !sector.starts_with(&Footer::COOKIE) {
        return None;
    }
    let footer = Footer::parse(sector).ok()?;
    (footer.disk_type() == DiskType::Fixed && footer.current_size() == offset).then_some(footer)
}

/// Where the hole at the end of the file begins, or the file ends: found by bisection, since
/// "is there data at or behind this place" is true up to one place and false from there on.
fn last_data(file: &ImageFile) -> Result<u64> {
    let end = file.length();
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        match file.next_data(middle, end)? {
            Some(extent) if extent.end == end => return Ok(end),
            Some(extent) => low = extent.end,
            None => high = middle,
        }
    }
    Ok(low)
}
