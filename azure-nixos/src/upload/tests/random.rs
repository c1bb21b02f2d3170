//! Thousands of whole uploads of random disks, to a service in memory and over a paused clock, with
//! everything going wrong that can: what is reported is compared with what is there.
//!
//! What is replaced is the HTTP client below the SDK; everything of ours above it takes part. A case
//! is one number. A case that fails is made smaller and printed with its number, and
//! `AZURE_NIXOS_UPLOAD_CASE=<number>` runs it alone; `AZURE_NIXOS_UPLOAD_CASES=<count>` runs more.

mod answer;
mod asked;
mod blob;
mod case;
mod checksum;
mod disk;
mod draw;
mod judge;
mod play;
mod service;
mod wire;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::case::Case;
use self::play::Seen;

/// Cases in an ordinary run.
const CASES: u64 = 10_000;
/// How long a failed case is made smaller.
const SHRINKING: Duration = Duration::from_secs(30);

#[test]
fn random_uploads_end_in_the_right_bytes_or_in_a_fitting_error() {
    let variable = |name| std::env::var(name).ok();
    if let Some(text) = variable("AZURE_NIXOS_UPLOAD_CASE") {
        let number = u64::from_str_radix(&text, 16).unwrap();
        if let Err(failed) = Player::new().case(number, &mut Seen::default()) {
            panic!("{failed}");
        }
        return;
    }
    let count = variable("AZURE_NIXOS_UPLOAD_CASES").map_or(CASES, |text| text.parse().unwrap());
    let first = getrandom::u64().unwrap();
    println!("{count} cases from {first:x}");
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let seen = Mutex::new(Seen::default());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || {
        let mut player = Player::new();
        let mut mine = Seen::default();
        while !failed.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                break;
            }
            if let Err(text) = player.case(first.wrapping_add(n), &mut mine) {
                failed.store(true, Ordering::Relaxed);
                panic!("{text}");
            }
        }
        seen.lock().unwrap().add(&mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let seen = seen.into_inner().unwrap();
    println!("{seen}");
    if count >= CASES {
        seen.check();
    }
}

/// Plays cases, one after the other, on a clock of its own.
struct Player {
    runtime: tokio::runtime::Runtime,
    place: tempfile::TempDir,
}

impl Player {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // Readers come one after the other, so that a case is the same every time.
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let place = tempfile::tempdir().unwrap();
        Self { runtime, place }
    }

    fn case(&mut self, number: u64, seen: &mut Seen) -> Result<(), String> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let mut tree = draw::case().new_tree(&mut runner).unwrap();
        let Err(mut why) = self.play(&tree.current(), seen) else {
            return Ok(());
        };
        let (mut smallest, mut tries) = (tree.current(), 0);
        let until = Instant::now() + SHRINKING;
        let mut more = tree.simplify();
        while more && Instant::now() < until {
            tries += 1;
            let case = tree.current();
            more = match self.play(&case, &mut Seen::default()) {
                Err(text) => {
                    (why, smallest) = (text, case);
                    tree.simplify()
                }
                Ok(()) => tree.complicate(),
            };
        }
        Err(format!(
            "{why}\nAZURE_NIXOS_UPLOAD_CASE={number:x}, made smaller in {tries} steps: {smallest:#?}"
        ))
    }

    fn play(&self, case: &Case, seen: &mut Seen) -> Result<(), String> {
        crate::backoff::seed(case.dice);
        let place = self.place.path();
        let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.runtime.block_on(play::play(case, place, seen))
        }));
        for journal in std::fs::read_dir(place).unwrap() {
            std::fs::remove_file(journal.unwrap().path()).unwrap();
        }
        played.unwrap_or_else(|_| Err("it panicked".to_owned()))
    }
}
