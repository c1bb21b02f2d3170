//! The kept inputs of the fuzzer, with what the fuzzer does with them: what was found once stays
//! found, and needs neither a fuzzer nor its compiler flags.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a helper of tests, which clippy does not take for a test"
)]
#![cfg(all(feature = "gzip", feature = "qcow2", feature = "xz", feature = "zstd"))]

use std::fs;
use std::path::Path;

// Shared with the fuzzer's own crate, which is not in this workspace.
#[allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "what the fuzzer calls beside"
)]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// Runs a target with all of its inputs.
fn replay(name: &str) {
    let (_, target) = fuzz::TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .expect("a target of this name");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut inputs: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    let mut taken = 0;
    for input in &inputs {
        // Shown when the test fails: the last one is it.
        println!("{}", input.display());
        taken += usize::from(target(&fs::read(input).unwrap()));
    }
    println!("{taken} of {} were taken for a disk", inputs.len());
    // Where all are refused at once, or none is, nothing is looked at.
    assert!(taken >= inputs.len() / 8 && taken > 0, "{taken}");
    assert!(taken < inputs.len(), "none was refused");
}

macro_rules! corpora {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let names = fuzz::TARGETS.map(|(name, _)| name);
            assert_eq!(names.as_slice(), [$(stringify!($name)),*]);
        }
    };
}

corpora!(boot partitions qcow2 streams vhd_dynamic vhd_footer vhdx);
