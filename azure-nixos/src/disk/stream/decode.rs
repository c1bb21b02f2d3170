//! From a compressed file to the bytes in it, front to back.

use std::io::{self, BufRead, Read};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Error;
use crate::disk::file::ImageFile;
use crate::disk::format::Format;
use crate::disk::watch::Watch;

/// Bytes of the file that are read at a time.
const CHUNK: usize = 256 << 10;
/// The largest window of a zstd frame, in bytes: what `zstd` itself unpacks unasked.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW: u64 = 128 << 20;
/// Memory for the dictionary of an xz block, in KiB: twice what `xz -9` makes, and what comes with it.
#[cfg(feature = "xz")]
const XZ_MEMORY: u32 = 160 << 10;

/// What is unpacked, in order.
pub(super) type Unpacked<'a> = Box<dyn Read + Send + 'a>;

/// Where the unpacking is in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    at: Arc<AtomicU64>,
    ran_out: Arc<AtomicBool>,
}

impl Position {
    /// Bytes of the file that were used.
    pub(super) fn at(&self) -> u64 {
        self.at.load(Ordering::Relaxed)
    }

    /// Whether more was asked for than the file has.
    pub(super) fn ran_out(&self) -> bool {
        self.ran_out.load(Ordering::Relaxed)
    }
}

/// Whether this program was built to unpack this.
pub(super) fn is_built_in(format: Format) -> bool {
    let built_in: &[Format] = &[
        #[cfg(feature = "gzip")]
        Format::Gzip,
        #[cfg(feature = "xz")]
        Format::Xz,
        #[cfg(feature = "zstd")]
        Format::Zstd,
    ];
    built_in.contains(&format)
}

/// Begins to unpack a file. Of a format that is not built in, the first read fails.
pub(super) fn unpack<'a, F>(
    file: F,
    format: Format,
    position: &Position,
    watch: &Watch,
) -> Unpacked<'a>
where
    F: Deref<Target = ImageFile> + Send + 'a,
{
    let input = Input {
        file,
        buffer: Vec::new(),
        used: 0,
        next: 0,
        position: position.clone(),
        watch: watch.clone(),
    };
    match format {
        #[cfg(feature = "gzip")]
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        #[cfg(feature = "xz")]
        Format::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
        #[cfg(feature = "zstd")]
        Format::Zstd => Box::new(zstd::Frames::new(input, ZSTD_WINDOW)),
        other => Box::new(Unknown(other, input)),
    }
}

/// What a format that is not built in is unpacked to.
struct Unknown<R>(Format, R);

impl<R: Read> Read for Unknown<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not one byte of it is the content.
        let _ = self.1.read(&mut buffer[..0])?;
        Err(io::Error::other(format!("{} is not unpacked", self.0)))
    }
}

/// The bytes of a file in order, and how many of them were used.
struct Input<F> {
    file: F,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were used.
    used: usize,
    /// Where the byte behind the buffer is in the file.
    next: u64,
    position: Position,
    watch: Watch,
}

impl<F: Deref<Target = ImageFile>> BufRead for Input<F> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            // What is skipped comes out nowhere, and may be long.
            self.watch.check().map_err(io::Error::other)?;
            let left = self.file.length() - self.next;
            let length = (CHUNK as u64).min(left) as usize;
            if length == 0 {
                self.position.ran_out.store(true, Ordering::Relaxed);
            }
            self.buffer.resize(length, 0);
            self.used = 0;
            let read = self.file.read_exact_at(&mut self.buffer, self.next);
            read.map_err(io::Error::other)?;
            self.next += length as u64;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.buffer.len() - self.used);
        self.used += count;
        self.position.at.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl<F: Deref<Target = ImageFile>> Read for Input<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// What stopped the unpacking, when it was the file and not what is in it.
pub(super) fn failed(error: io::Error) -> Result<Error, io::Error> {
    if !error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Error>)
    {
        return Err(error);
    }
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(ours)) => Ok(*ours),
        Some(Err(other)) => Err(io::Error::other(other)),
        None => Err(io::Error::other("unknown")),
    }
}

#[cfg(feature = "zstd")]
mod zstd {
    //! One frame after the other, as the format allows: the crate reads one.

    use std::io::{self, BufRead, Read};

    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

    pub(super) struct Frames<R> {
        source: R,
        decoder: FrameDecoder,
        /// What the frame that is being read says of its size (0: nothing), and what came out of it.
        frame: Option<(u64, u64)>,
    }

    impl<R: BufRead> Frames<R> {
        pub(super) fn new(source: R, window: u64) -> Self {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(window);
            Self {
                source,
                decoder,
                frame: None,
            }
        }

        /// Goes to the next frame; `false` when there is none.
        fn next_frame(&mut self) -> io::Result<bool> {
            loop {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(false);
                }
                match self.decoder.reset(&mut self.source) {
                    Ok(()) => {
                        self.frame = Some((self.decoder.content_size(), 0));
                        return Ok(true);
                    }
                    Err(FrameDecoderError::ReadFrameHeaderError(
                        ReadFrameHeaderError::SkipFrame { length, .. },
                    )) => {
                        let mut skipped = (&mut self.source).take(length.into());
                        if io::copy(&mut skipped, &mut io::sink())? < length.into() {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        }

        /// Checks what a frame says of itself when all of it was read.
        fn end_frame(&mut self, said: u64, seen: u64) -> io::Result<()> {
            let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
            if said != 0 && said != seen {
                return wrong(format!("a frame says {said} bytes and holds {seen}"));
            }
            let stored = self.decoder.get_checksum_from_data();
            if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
                return wrong("the checksum of a frame is wrong".to_owned());
            }
            self.frame = None;
            Ok(())
        }
    }

    impl<R: BufRead> Read for Frames<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if buffer.is_empty() {
                return Ok(0);
            }
            loop {
                let Some((said, seen)) = self.frame else {
                    if self.next_frame()? {
                        continue;
                    }
                    return Ok(0);
                };
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    let one = BlockDecodingStrategy::UptoBlocks(1);
                    let decoded = self.decoder.decode_blocks(&mut self.source, one);
                    decoded.map_err(io::Error::other)?;
                }
                let count = self.decoder.read(buffer)?;
                if count == 0 {
                    self.end_frame(said, seen)?;
                    continue;
                }
                let seen = seen + count as u64;
                if said != 0 && seen > said {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a frame says {said} bytes and holds more"),
                    ));
                }
                self.frame = Some((said, seen));
                return Ok(count);
            }
        }
    }
}
