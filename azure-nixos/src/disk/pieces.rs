//! Reading a whole disk in parallel, piece by piece, in bounded memory.
//!
//! A piece is 4 MiB of the disk at a multiple of 4 MiB. Pieces that lie in a hole are not visited.
//! The results arrive in the order of the disk.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::source::{DiskSource, checked_extent, read_sparse};
use crate::{Error, ErrorKind, Result};

/// Bytes of a piece: the largest range that Azure takes in one request, and enough for a thread to
/// be busy with.
pub(super) const PIECE: usize = 4 << 20;

/// Pieces between two collections of results. 4 GiB of disk per round keep all threads busy, and
/// the results of one round are some tens of KiB whatever the size of the disk.
const ROUND: usize = 1024;

/// Calls `work` with the number, the content and the bytes in extents of each piece that may hold
/// data, on as many threads as there are processors, or on this one where the source can only be
/// read in order; hands the results to `collect` in order.
///
/// # Errors
/// The first of the source, or of `work`.
pub(super) fn visit<S, R>(
    source: &S,
    work: impl Fn(u64, &[u8], u64) -> Result<R> + Sync,
    collect: impl FnMut(u64, R),
) -> Result<()>
where
    S: DiskSource + ?Sized,
    R: Send,
{
    let read = |pieces: &[Range<u64>], buffer: &mut Vec<u8>| {
        let mut results = Vec::new();
        for range in pieces {
            // At most a piece.
            buffer.resize((range.end - range.start) as usize, 0);
            let data = read_sparse(source, buffer, range.start)?;
            results.push(work(range.start / PIECE as u64, buffer, data)?);
        }
        Ok(results)
    };
    let how = How {
        threads: processors(),
        at_once: 1,
    };
    each(source, how, read, collect)
}

/// How pieces are distributed.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) threads: usize,
    /// Pieces that a thread gets at a time.
    pub(super) at_once: usize,
}

/// Threads that the machine can run at a time.
pub(super) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The same for work that reads its pieces itself: it gets the bytes of the disk that they are, and a
/// buffer that is its thread's own and stays as it was left. From a source that can only be read in order
/// it gets one at a time.
///
/// # Errors
/// As [`visit`].
pub(super) fn each<S, R, A>(
    source: &S,
    how: How,
    work: impl Fn(&[Range<u64>], &mut Vec<u8>) -> Result<A> + Sync,
    mut collect: impl FnMut(u64, R),
) -> Result<()>
where
    S: DiskSource + ?Sized,
    R: Send,
    A: IntoIterator<Item = R>,
{
    let how = if source.is_sequential() {
        How {
            threads: 1,
            at_once: 1,
        }
    } else {
        how
    };
    let mut at = 0;
    loop {
        let mut round = Vec::new();
        while round.len() < ROUND {
            match checked_extent(source, at)? {
                None => break,
                Some(extent) => {
                    let number = extent.start / PIECE as u64;
                    round.push(number);
                    at = (number + 1).saturating_mul(PIECE as u64);
                }
            }
        }
        if round.is_empty() {
            return Ok(());
        }
        for (number, result) in run(source, how, &round, &work)? {
            collect(number, result);
        }
    }
}

fn run<S, R, A>(
    source: &S,
    how: How,
    round: &[u64],
    work: &(impl Fn(&[Range<u64>], &mut Vec<u8>) -> Result<A> + Sync),
) -> Result<Vec<(u64, R)>>
where
    S: DiskSource + ?Sized,
    R: Send,
    A: IntoIterator<Item = R>,
{
    let size = source.virtual_size();
    let bytes = |number: &u64| {
        let start = number * PIECE as u64;
        start..size.min(start + PIECE as u64)
    };
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let step = |buffer: &mut Vec<u8>, done: &mut Vec<(u64, R)>| -> Result<ControlFlow<()>> {
        if failed.load(Ordering::Relaxed) {
            return Ok(ControlFlow::Break(()));
        }
        let first = next.fetch_add(how.at_once, Ordering::Relaxed);
        let rest = round.get(first..).unwrap_or_default();
        let numbers = &rest[..how.at_once.min(rest.len())];
        if numbers.is_empty() {
            return Ok(ControlFlow::Break(()));
        }
        let pieces: Vec<_> = numbers.iter().map(bytes).collect();
        done.extend(numbers.iter().copied().zip(work(&pieces, buffer)?));
        Ok(ControlFlow::Continue(()))
    };
    let worker = || -> Result<Vec<(u64, R)>> {
        let (mut buffer, mut done) = (Vec::new(), Vec::new());
        loop {
            match step(&mut buffer, &mut done) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(done),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..how.threads.min(round.len().div_ceil(how.at_once)))
            .map(|_| scope.spawn(worker))
            .collect();
        let mut all = worker();
        for other in others {
            let theirs = other.join().unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Internal,
                    "reading the disk stopped by a defect of its source",
                ))
            });
            all = match (all, theirs) {
                (Ok(mut all), Ok(theirs)) => {
                    all.extend(theirs);
                    Ok(all)
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        all
    })?;
    all.sort_unstable_by_key(|(number, _)| *number);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryImage;

    #[test]
    fn every_piece_with_data_is_visited_once_and_in_order() {
        let piece = PIECE as u64;
        let mut disk = MemoryImage::new(3000 * piece + 512).unwrap();
        disk.write(piece - 1, b"over the edge").unwrap();
        for number in 5..1500 {
            disk.write(number * piece + number * 7, &[1]).unwrap();
        }
        disk.write(3000 * piece + 511, b"!").unwrap();
        let mut seen = Vec::new();
        visit(
            &disk,
            |number, bytes, data| {
                // Summing all bytes of all pieces takes minutes in a debug build.
                if number < 8 || number == 3000 {
                    let sum = bytes.iter().filter(|&&byte| byte != 0).count();
                    assert_eq!(sum as u64, data, "piece {number}");
                }
                Ok(bytes.len())
            },
            |number, length| seen.push((number, length)),
        )
        .unwrap();
        let mut expected: Vec<_> = [0, 1]
            .into_iter()
            .chain(5..1500)
            .map(|number| (number, PIECE))
            .collect();
        expected.push((3000, 512));
        assert_eq!(seen, expected);
    }

    #[derive(Debug)]
    struct Broken;

    impl DiskSource for Broken {
        fn virtual_size(&self) -> u64 {
            1 << 40
        }
        fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
            Ok(Some(from..1 << 40))
        }
        fn read_exact_at(&self, _: &mut [u8], offset: u64) -> Result<()> {
            if offset < 20 * PIECE as u64 {
                return Ok(());
            }
            Err(Error::new(ErrorKind::Io, "bad sector"))
        }
        fn fingerprint(&self) -> Result<String> {
            Ok("broken".into())
        }
    }

    #[test]
    fn the_first_error_stops_everything() {
        let error = visit(&Broken, |_, _, _| Ok(()), |_, ()| ()).unwrap_err();
        assert_eq!(error.to_string(), "bad sector");
    }

    #[derive(Debug)]
    struct Backwards;

    impl DiskSource for Backwards {
        fn virtual_size(&self) -> u64 {
            1 << 20
        }
        fn next_extent(&self, _: u64) -> Result<Option<Range<u64>>> {
            Ok(Some(0..512))
        }
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> Result<()> {
            Ok(())
        }
        fn fingerprint(&self) -> Result<String> {
            Ok("backwards".into())
        }
    }

    #[test]
    fn a_source_that_goes_backwards_is_an_error_and_not_a_loop() {
        let error = visit(&Backwards, |_, _, _| Ok(()), |_, ()| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
