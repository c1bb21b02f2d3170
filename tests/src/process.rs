//! This process, as the kernel sees it.

/// The most memory that this process has had so far, in bytes (`VmHWM`).
///
/// # Panics
/// Where there is no `/proc`.
#[must_use]
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib * 1024
}
