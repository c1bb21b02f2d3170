//! Why the local Azure could not start.
//!
//! What it answers to its clients is not an error of this crate: those are in `arm::error`.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

/// Why the local Azure could not start, and what to do about it.
#[derive(Debug)]
pub struct EmulatorError {
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl EmulatorError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An input/output error on a named file, with what was being done to it (`read`, `write`).
    pub(crate) fn io(doing: &str, path: &Path, source: std::io::Error) -> Self {
        Self::new(format!(
            "cannot {doing} {}; check that the state directory is on a local disk with space left and belongs to you",
            path.display()
        ))
        .with_source(source)
    }
}

impl fmt::Display for EmulatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for EmulatorError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
