//! Programs that are not ours and may be absent.

/// Whether a program can be had. One that cannot fails the test, unless `AZURE_NIXOS_MISSING_TOOLS`
/// names it, or is not set at all: then the test says that it skips.
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        return true;
    }
    let known = std::env::var("AZURE_NIXOS_MISSING_TOOLS");
    let excused = known.is_ok_and(|names| names.split_whitespace().any(|name| name == program));
    assert!(
        excused,
        "{program} is not installed: `tests/run` installs it, or skips this test"
    );
    eprintln!("SKIPPED for want of {program}: this test shows nothing");
    false
}
