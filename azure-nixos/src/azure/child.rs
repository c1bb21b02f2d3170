//! Tests that need a process of their own, because certificates, proxies and the one global log
//! belong to the process.

use std::process::Command;

const MARK: &str = "IN_CHILD";

/// Whether this is such a process. Tests for it are ignored and do nothing elsewhere.
pub(super) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Runs one ignored test of this program, given with its path below `azure`, with these
/// variables. Returns everything it printed.
pub(super) fn run(test: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("azure::{test}");
    child.args(["--ignored", "--exact", &name, "--nocapture"]);
    for name in ["HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        child.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    child.env_remove("SSL_CERT_DIR").env_remove("SSL_CERT_FILE");
    child.env(MARK, "1").envs(variables.iter().copied());
    let output = child.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    text
}
