//! What Linux says that a process has used.

use std::fs;

use crate::Result;
use crate::server::Server;

/// Linux counts processor time in hundredths of a second here, whatever its own clock does.
const TICKS: f64 = 100.0;

/// Of this process and of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Seconds of processor time of this process.
    pub(crate) client: f64,
    /// The same of the server.
    pub(crate) server: f64,
    /// The most memory of this process so far, in bytes.
    peak: u64,
    /// Its memory now.
    resident: u64,
    /// By how much the peak is above what was resident before.
    pub(crate) grown: u64,
}

impl Usage {
    pub(crate) fn now(server: &Server) -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        Ok(Self {
            client: cpu(std::process::id())?,
            server: cpu(server.id())?,
            peak: kib(&status, "VmHWM:") << 10,
            resident: kib(&status, "VmRSS:") << 10,
            grown: 0,
        })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            client: self.client - before.client,
            server: self.server - before.server,
            grown: self.peak.saturating_sub(before.resident),
            ..*self
        }
    }
}

/// Lets the peak of memory begin anew. Where Linux does not allow it the peak is that of the whole
/// run.
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn cpu(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may have spaces; user and system time are the 14th and 15th field.
    let (_, fields) = text.rsplit_once(')').ok_or("/proc has another form")?;
    let ticks: std::result::Result<Vec<f64>, _> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS)
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
