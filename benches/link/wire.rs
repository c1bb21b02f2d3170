//! One direction of a link.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// What goes onto the wire at once: what passes in this time, within the two bounds below. Short, so
/// that connections take turns; long enough not to be all overhead.
const TURN: Duration = Duration::from_millis(2);
/// A packet of Ethernet.
const SMALLEST_TURN: u64 = 1460;
const LARGEST_TURN: u64 = 64 << 10;

/// How much a sender that comes late may catch up. Timers here are late by a millisecond or two, and
/// a wire is not slower for it.
const CATCH_UP: Duration = Duration::from_millis(5);

/// A wire that all connections share.
pub(crate) struct Wire {
    rate: u64,
    delay: Duration,
    /// When the wire has carried all that was put onto it.
    free: Mutex<Instant>,
    passed: AtomicU64,
}

impl Wire {
    pub(crate) fn new(rate: u64, delay: Duration) -> Self {
        Self {
            rate,
            delay,
            free: Mutex::new(Instant::now()),
            passed: AtomicU64::new(0),
        }
    }

    /// Bytes that were put onto it.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    fn turn(&self) -> usize {
        let bytes = self.takes(TURN).clamp(SMALLEST_TURN, LARGEST_TURN);
        // At most LARGEST_TURN.
        bytes as usize
    }

    /// Bytes that pass in this time.
    fn takes(&self, time: Duration) -> u64 {
        (self.rate as f64 * time.as_secs_f64()) as u64
    }

    /// Puts bytes onto the wire; returns when the last of them is on it.
    async fn put(&self, bytes: u64) {
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = Instant::now().checked_sub(CATCH_UP).unwrap_or(*free);
            *free =
                (*free).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            *free
        };
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        tokio::time::sleep_until(until).await;
    }

    /// What one connection may have on the wire: all that fits on it, and a turn more.
    fn room(&self) -> usize {
        // More is not made of memory in any case.
        let fits = self.takes(self.delay + TURN).min(256 << 20);
        fits as usize + 2 * self.turn()
    }
}

/// Carries what comes from one end to the other until it ends.
pub(crate) async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    wire: &Wire,
) -> io::Result<()> {
    let room = Semaphore::new(wire.room());
    let (put, mut take) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let near = async {
        // Dropped at the end of what is read: the far end then ends too.
        let put = put;
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(wire.turn());
            let mut turn = (&mut from).take(wire.turn() as u64);
            let count = turn.read_buf(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            // What was read is at most a turn, which fits into 32 bits and into the room.
            if let Ok(permit) = room.acquire_many(count as u32).await {
                permit.forget();
            }
            wire.put(count as u64).await;
            let arrives = Instant::now() + wire.delay;
            if put.send((arrives, buffer.split().freeze())).is_err() {
                return Ok(());
            }
        }
    };
    let far = async {
        while let Some((arrives, bytes)) = take.recv().await {
            tokio::time::sleep_until(arrives).await;
            to.write_all(&bytes).await?;
            room.add_permits(bytes.len());
        }
        to.shutdown().await
    };
    tokio::try_join!(near, far).map(|_: ((), ())| ())
}
