//! The log of a serial console, which keeps its end when it grows too long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The most that a log has, in bytes. The older half goes when it would have more.
const LONGEST: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct SerialLog {
    path: PathBuf,
    file: File,
    length: u64,
    longest: u64,
}

impl SerialLog {
    /// Goes on with the log of earlier starts.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::limited(path, LONGEST)
    }

    fn limited(path: &Path, longest: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            length: file.metadata()?.len(),
            file,
            longest,
        })
    }

    /// Adds some output.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length + bytes.len() as u64 > self.longest {
            self.shorten()?;
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts a log with the later half in the place of this one.
    fn shorten(&mut self) -> io::Result<()> {
        let kept = self.length.min(self.longest / 2);
        let mut end = vec![0; kept as usize];
        self.file.read_exact_at(&mut end, self.length - kept)?;
        let beside = self.path.with_extension("log.new");
        fs::write(&beside, &end)?;
        fs::rename(&beside, &self.path)?;
        *self = Self::limited(&self.path, self.longest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial.log");
        let mut log = SerialLog::limited(&path, 1000).unwrap();
        let mut all = Vec::new();
        for line in 0..300 {
            let line = format!("line {line}\n");
            all.extend(line.as_bytes());
            log.append(line.as_bytes()).unwrap();
            let kept = fs::read(&path).unwrap();
            assert!(kept.len() <= 1000 && all.ends_with(&kept));
            assert!(kept.len() >= all.len().min(500));
        }
        drop(log);
        let mut again = SerialLog::limited(&path, 1000).unwrap();
        again.append(b"more").unwrap();
        assert!(fs::read(&path).unwrap().ends_with(b"line 299\nmore"));
    }
}
