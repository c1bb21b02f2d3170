//! The environment variables, as the process has them or as a caller gives them instead.
//!
//! Everything in `azure` reads variables through here, so that a test (or a program that serves
//! several users) never has to change those of the process.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

#[derive(Clone)]
pub(super) struct Environment(Arc<Lookup>);

impl Environment {
    pub(super) fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }

    /// A variable that is set and not empty: CI systems set the missing ones to nothing.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a switch is on: set to anything but `0`, `false`, `no` or `off`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            let value = value.trim().to_ascii_lowercase();
            !matches!(value.as_str(), "0" | "false" | "no" | "off")
        })
    }

    /// Where `az` keeps its files: `AZURE_CONFIG_DIR`, else `~/.azure`.
    pub(super) fn az_config_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = self.get("AZURE_CONFIG_DIR") {
            return Some(dir.into());
        }
        let home = self.get("HOME").or_else(|| self.get("USERPROFILE"))?;
        Some(PathBuf::from(home).join(".azure"))
    }

    /// Whether a program can be found. Looked up here because starting a shell only to learn that
    /// there is no `az` costs more than the answer.
    pub(super) fn has_program(&self, name: &str) -> bool {
        let Some(path) = self.get("PATH") else {
            return false;
        };
        let endings: &[&str] = if cfg!(windows) {
            &["", ".cmd", ".exe", ".bat"]
        } else {
            &[""]
        };
        std::env::split_paths(&path).any(|dir| {
            endings
                .iter()
                .any(|ending| dir.join(format!("{name}{ending}")).is_file())
        })
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}
