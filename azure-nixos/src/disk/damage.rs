//! Random damage for the unit tests of the formats: the same for the same seed.

use std::ops::Range;

use super::source::DiskSource;
use crate::Result;

/// Numbers that follow from a seed (SplitMix64).
pub(super) struct Rng(u64);

impl Rng {
    /// A seed that is printed, or the one in `AZURE_NIXOS_SEED`.
    pub(super) fn announce(what: &str) -> u64 {
        let seed = std::env::var("AZURE_NIXOS_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(0x5eed);
        eprintln!("{what}: AZURE_NIXOS_SEED={seed}");
        seed
    }

    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.word() % end.max(1)
    }

    pub(super) fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// The content of a disk of at most 64 MiB, extents checked on the way.
pub(super) fn read_all<S: DiskSource>(disk: &S) -> Result<Vec<u8>> {
    let size = disk.virtual_size();
    assert!(size <= 64 << 20);
    let mut content = vec![0; size as usize];
    let mut at = 0;
    while let Some(extent) = disk.next_extent(at)? {
        assert!(extent.start >= at && extent.start < extent.end && extent.end <= size);
        let part = &mut content[extent.start as usize..extent.end as usize];
        disk.read_exact_at(part, extent.start)?;
        at = extent.end;
    }
    Ok(content)
}

/// Damages an image in `places` (or is cut off) again and again, and opens it: it must be refused,
/// or be a disk that can be looked through and read, errors included.
pub(super) fn shake<S: DiskSource>(
    seed: u64,
    times: u64,
    image: &[u8],
    places: &[Range<usize>],
    open: impl Fn(Vec<u8>, &mut Rng) -> Result<S>,
) {
    let (mut taken, mut read) = (0, 0);
    for round in 0..times {
        let mut rng = Rng::new(seed.wrapping_add(round));
        let mut image = image.to_vec();
        for _ in 0..=rng.below(3) {
            let place = places[rng.below(places.len() as u64) as usize].clone();
            let at = place.start + rng.below(place.len() as u64) as usize;
            match rng.below(4) {
                0 => image[at] ^= 1 << rng.below(8),
                1 => image[at] = rng.word() as u8,
                2 => image[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
                _ => {
                    let end = image.len().min(at + 8);
                    let value =
                        [0, rng.word(), u64::MAX, 1 << rng.below(64)][rng.below(4) as usize];
                    image[at..end].copy_from_slice(&value.to_be_bytes()[..end - at]);
                }
            }
        }
        if rng.chance(16) {
            let length = rng.below(image.len() as u64) as usize;
            image.truncate(length);
        }
        let Ok(disk) = open(image, &mut rng) else {
            continue;
        };
        taken += 1;
        let size = disk.virtual_size();
        assert!(size > 0 && size.is_multiple_of(512), "round {round}");
        if size <= 64 << 20 {
            read += u64::from(read_all(&disk).is_ok());
            continue;
        }
        // Larger ones are looked at in some places only.
        let mut buffer = vec![0; 1 << 16];
        for _ in 0..8 {
            let at = rng.below(size - buffer.len() as u64);
            if let Ok(Some(extent)) = disk.next_extent(at) {
                assert!(extent.start >= at && extent.end <= size && !extent.is_empty());
            }
            let _ = disk.read_exact_at(&mut buffer, at);
        }
    }
    eprintln!("{taken} of {times} were taken, {read} read to the end");
    // A loop in which nothing is ever taken would show nothing.
    assert!(taken > times / 50, "{taken}");
}
