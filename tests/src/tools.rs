//! Programs that are not ours, and what a test does without one.

use std::path::PathBuf;
use std::process::Command;

/// Names the programs that `tests/run` could not find or install, separated by spaces.
const MISSING: &str = "AZURE_NIXOS_MISSING_TOOLS";

/// A program on the PATH or where `tests/run` puts what it installs, or `None` with a loud word when it
/// is absent and may be.
///
/// # Panics
/// When it is absent and the test command did not say so: a test must not pass by accident.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(installed())
        .chain(sbin)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        skip(name);
    }
    found
}

/// Where `tests/tools.sh` puts programs.
fn installed() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    set("AZURE_NIXOS_TEST_TOOLS")
        .or_else(|| cache().map(|cache| cache.join("azure-nixos/tools")))
        .map(|tools| tools.join("bin"))
}

/// Says that a test is skipped for want of a program.
///
/// # Panics
/// When the program is not among those that are known to be missing.
pub fn skip(name: &str) {
    let missing = std::env::var(MISSING).unwrap_or_default();
    assert!(
        missing.split_whitespace().any(|one| one == name),
        "{name} is not installed, and {MISSING} does not name it; tests/run installs it or names it"
    );
    eprintln!("SKIPPED: {name} is not installed, so this test shows nothing");
}

/// Runs a program to its end and returns what it printed.
///
/// # Panics
/// When it fails, with everything that it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}
