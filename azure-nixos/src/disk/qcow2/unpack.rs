//! Compressed clusters. The last ones are kept, since a reader comes back for the rest of one.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::header::Layout;
use crate::disk::fault::damaged;
use crate::disk::read_at::ReadAt;
use crate::{Error, Result};

/// Bytes of unpacked clusters that are kept, but four clusters at least and sixteen at most.
const KEPT: u64 = 8 << 20;
/// The largest window of a zstd frame, in bytes: four times the largest cluster. An image cannot
/// ask for more memory than that.
const WINDOW: u64 = 8 << 20;

/// How clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::disk) enum Packing {
    Zlib,
    Zstd,
}

impl Packing {
    pub(in crate::disk) fn as_str(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

/// The clusters that were unpacked last.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Where each begins in the file, and its content; the one used last at the end.
    kept: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
    most: usize,
}

impl Unpacked {
    pub(super) fn new(cluster: u64) -> Self {
        Self {
            kept: Mutex::default(),
            // At most 16.
            most: (KEPT / cluster.max(1)).clamp(4, 16) as usize,
        }
    }

    /// The content of the cluster in these bytes of the file, of which there are at most two
    /// clusters' worth.
    pub(super) fn get<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        layout: &Layout,
        start: u64,
        length: u64,
    ) -> Result<Arc<[u8]>> {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let found = kept.iter().rposition(|(key, _)| *key == start);
            if let Some(entry) = found.and_then(|index| kept.remove(index)) {
                let cluster = Arc::clone(&entry.1);
                kept.push_back(entry);
                return Ok(cluster);
            }
        }
        // Each at most 4 MiB.
        let mut packed = vec![0; length as usize];
        file.read_exact_at(&mut packed, start)?;
        let mut cluster = vec![0; layout.cluster as usize];
        let filled = match layout.packing {
            Packing::Zlib => inflate(&packed, &mut cluster),
            Packing::Zstd => unzstd(&packed, &mut cluster),
        };
        if let Err(why) = filled {
            return Err(Error::from(damaged(format!(
                "the compressed cluster at byte {start} of {} cannot be unpacked: {why}",
                file.name()
            ))));
        }
        let cluster: Arc<[u8]> = cluster.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.most {
            kept.pop_front();
        }
        kept.push_back((start, Arc::clone(&cluster)));
        Ok(cluster)
    }
}

/// Fills the cluster; what follows its data is of another cluster.
fn inflate(packed: &[u8], cluster: &mut [u8]) -> Result<(), String> {
    let mut decoder = Decompress::new(false);
    decoder
        .decompress(packed, cluster, FlushDecompress::Finish)
        .map_err(|error| error.to_string())?;
    whole(decoder.total_out(), cluster)
}

/// The same for a frame of zstd.
fn unzstd(packed: &[u8], cluster: &mut [u8]) -> Result<(), String> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW);
    let mut input = packed;
    decoder
        .init(&mut input)
        .map_err(|error| error.to_string())?;
    let mut filled = 0;
    while filled < cluster.len() && !decoder.is_finished() {
        // A block has at most 128 KiB, and what is not within the window is taken out behind each.
        decoder
            .decode_blocks(&mut input, BlockDecodingStrategy::UptoBlocks(1))
            .map_err(|error| error.to_string())?;
        let rest = cluster.get_mut(filled..).unwrap_or_default();
        filled += decoder.read(rest).map_err(|error| error.to_string())?;
    }
    whole(filled as u64, cluster)
}

fn whole(filled: u64, cluster: &[u8]) -> Result<(), String> {
    if filled == cluster.len() as u64 {
        return Ok(());
    }
    Err(format!(
        "its data ends after {filled} of {} bytes",
        cluster.len()
    ))
}
