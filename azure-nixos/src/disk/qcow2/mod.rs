//! The qcow2 format, versions 2 and 3: clusters of 512 bytes to 2 MiB, found through two levels of
//! tables.
//!
//! | where (bytes) | what |
//! |---|---|
//! | 0 | the header, its extensions and the name of the backing file: one cluster |
//! | as the header says | the level 1 table: 64 bits per level 2 table |
//! | any cluster | level 2 tables, one cluster each: 64 bits per cluster of the disk, or 128 with subclusters |
//! | any cluster | clusters; compressed ones begin at any byte |
//! | any cluster | reference counts and snapshots, which reading does not need |
//!
//! A cluster is absent, zeros, stored, or compressed with zlib (deflate without a frame around it)
//! or zstd. With "extended L2" each of its 32 subclusters is absent, zeros or stored. What is absent
//! is in the backing file, or zeros when there is none.
//!
//! A backing file is opened only when the caller names it ([`OpenOptions`](super::OpenOptions)): the
//! name in the image may come from whoever made the image, and point anywhere. Encrypted images and
//! such with an external data file are refused.
//!
//! Tables are read in pieces as they are needed, at most 2 MiB of which is kept, beside at most 8 MiB
//! of clusters that were unpacked last.
//!
//! Numbers are big-endian. Source: QEMU's `docs/interop/qcow2.txt`.

mod check;
mod header;
mod tables;
mod unpack;

use std::ops::Range;

pub(super) use header::Layout;
use tables::State;
use unpack::Unpacked;

use super::blocks::{self, Blocks, Own, Place, Run};
use super::fault::Fault;
use super::file::ImageFile;
use super::read_at::ReadAt;
use super::source::{DiskSource, Stored};
use super::table::Pieces;
use crate::Result;

/// A qcow2 image.
///
/// ```no_run
/// use azure_nixos::disk::{DiskSource, ImageFile, Qcow2};
///
/// let disk = Qcow2::open(ImageFile::open("web.qcow2")?)?;
/// println!("{} bytes in clusters of {}", disk.virtual_size(), disk.cluster_size());
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Debug)]
pub struct Qcow2<F = ImageFile> {
    file: F,
    layout: Layout,
    pieces: Pieces,
    unpacked: Unpacked,
    below: Option<Box<dyn DiskSource>>,
}

impl<F: ReadAt> Qcow2<F> {
    /// Reads the header and all tables. An image that has a backing file is refused.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidImage`](crate::ErrorKind::InvalidImage) when it is no qcow2 image,
    /// damaged, or of a kind that is not read: the message names the place, the hint says what to
    /// do. And when it cannot be read.
    pub fn open(file: F) -> Result<Self> {
        let layout = Self::layout(&file)?;
        match layout.needs_backing(&file) {
            Some(finding) => Err(finding.into()),
            None => Ok(Self::new(file, layout, None)),
        }
    }

    /// The same over a backing file that the caller has opened, whatever the image says of it.
    /// Where it is smaller than the image, zeros follow.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_over(file: F, below: impl DiskSource) -> Result<Self> {
        let layout = Self::layout(&file)?;
        Ok(Self::new(file, layout, Some(Box::new(below))))
    }

    fn layout(file: &F) -> Result<Layout, Fault> {
        let layout = Layout::read(file)?;
        layout.check(file)?;
        Ok(layout)
    }

    /// The layout was read from this file, and checked.
    pub(super) fn new(file: F, layout: Layout, below: Option<Box<dyn DiskSource>>) -> Self {
        Self {
            unpacked: Unpacked::new(layout.cluster),
            file,
            layout,
            pieces: Pieces::default(),
            below,
        }
    }

    /// What lies below.
    #[must_use]
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Bytes of a cluster.
    #[must_use]
    pub fn cluster_size(&self) -> u64 {
        self.layout.cluster
    }
}

/// A run that is neither zeros nor bytes of the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Elsewhere {
    /// In the backing file.
    Below,
    /// A cluster that is compressed: its beginning on the disk, and its bytes in the file.
    Packed {
        cluster: u64,
        start: u64,
        length: u64,
    },
}

impl<F: ReadAt> Qcow2<F> {
    fn place(&self, state: State, cluster: u64) -> Place<Elsewhere> {
        match state {
            State::Zero => Place::Zero,
            State::Absent if self.below.is_none() => Place::Zero,
            State::Absent => Place::Other(Elsewhere::Below),
            State::At(start) => Place::At(start),
            State::Packed { start, length } => Place::Other(Elsewhere::Packed {
                cluster,
                start,
                length,
            }),
        }
    }
}

impl<F: ReadAt> Blocks for Qcow2<F> {
    type File = F;
    type Other = Elsewhere;

    fn file(&self) -> &F {
        &self.file
    }

    fn size(&self) -> u64 {
        self.layout.size
    }

    fn locate(&self, offset: u64) -> Result<Run<Elsewhere>> {
        let layout = &self.layout;
        let unit = layout.unit;
        let table = match layout.table_at(&self.file, &self.pieces, offset)? {
            Ok(table) => table,
            Err(end) => {
                let place = self.place(State::Absent, 0);
                return Ok(Run { end, place });
            }
        };
        let mut run: Option<Run<Elsewhere>> = None;
        let first = offset / unit * unit;
        let entries = layout.entries_from(&self.file, &self.pieces, &table, first)?;
        if let Some(end) = entries.hole() {
            let place = self.place(State::Absent, 0);
            return Ok(Run { end, place });
        }
        for (at, state) in layout.units(&self.file, entries, first) {
            let cluster = at / layout.cluster * layout.cluster;
            let (at, state) = (at, state?);
            let place = self.place(state, cluster);
            run = match (run, place) {
                // The first begins where it was asked for, not where the unit does.
                (None, Place::At(start)) => Some(Run {
                    end: at + unit,
                    place: Place::At(start + (offset - at)),
                }),
                (None, Place::Other(Elsewhere::Packed { .. })) => {
                    return Ok(Run {
                        end: cluster + layout.cluster,
                        place,
                    });
                }
                (None, place) => Some(Run {
                    end: at + unit,
                    place,
                }),
                (Some(run), place) if goes_on(&run, offset, place) => Some(Run {
                    end: at + unit,
                    ..run
                }),
                _ => break,
            };
        }
        // There is at least one unit in a table.
        Ok(run.unwrap_or(Run {
            end: first + unit,
            place: Place::Zero,
        }))
    }
}

impl<F: ReadAt> Own<Qcow2<F>> for Elsewhere {
    fn extent(&self, image: &Qcow2<F>, range: Range<u64>) -> Result<Option<Range<u64>>> {
        let below = match (self, &image.below) {
            (Elsewhere::Packed { .. }, _) => return Ok(Some(range)),
            (Elsewhere::Below, None) => return Ok(None),
            (Elsewhere::Below, Some(below)) => below,
        };
        let extent = below.next_extent(range.start)?;
        Ok(extent
            .map(|extent| extent.start.max(range.start)..extent.end.min(range.end))
            .filter(|extent| !extent.is_empty()))
    }

    fn read(&self, image: &Qcow2<F>, buffer: &mut [u8], offset: u64) -> Result<()> {
        match (self, &image.below) {
            (
                Elsewhere::Packed {
                    cluster,
                    start,
                    length,
                },
                _,
            ) => {
                let whole = image
                    .unpacked
                    .get(&image.file, &image.layout, *start, *length)?;
                // A run of a packed cluster is within the cluster.
                let skip = usize::try_from(offset - cluster).unwrap_or(usize::MAX);
                let part = whole.get(skip..).unwrap_or_default();
                for (to, from) in buffer.iter_mut().zip(part) {
                    *to = *from;
                }
            }
            (Elsewhere::Below, None) => buffer.fill(0),
            (Elsewhere::Below, Some(below)) => {
                let there = below.virtual_size().saturating_sub(offset);
                let there = usize::try_from(there).map_or(buffer.len(), |n| n.min(buffer.len()));
                let (inside, beyond) = buffer.split_at_mut(there);
                if !inside.is_empty() {
                    below.read_exact_at(inside, offset)?;
                }
                beyond.fill(0);
            }
        }
        Ok(())
    }
}

/// Whether what comes behind a run that began at `offset` is the same.
fn goes_on(run: &Run<Elsewhere>, offset: u64, place: Place<Elsewhere>) -> bool {
    match (run.place, place) {
        (Place::Zero, Place::Zero)
        | (Place::Other(Elsewhere::Below), Place::Other(Elsewhere::Below)) => true,
        (Place::At(first), Place::At(start)) => start.checked_sub(first) == Some(run.end - offset),
        _ => false,
    }
}

impl<F: ReadAt> DiskSource for Qcow2<F> {
    fn virtual_size(&self) -> u64 {
        self.layout.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        blocks::next_extent(self, from)
    }

    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        blocks::stored_at(self, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        blocks::read(self, buffer, offset)
    }

    fn fingerprint(&self) -> Result<String> {
        let own = self.file.fingerprint()?;
        Ok(match &self.below {
            Some(below) => format!("{own} over {}", below.fingerprint()?),
            None => own,
        })
    }
}

#[cfg(test)]
mod tests;
