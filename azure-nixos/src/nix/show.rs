//! From the events of Nix to the one line that a progress stream has room for.

use std::fmt::Write as _;
use std::sync::Mutex;

use super::event::NixEvent;
use super::installable::short_name;
use crate::progress::ProgressSender;

/// A listener that keeps the detail of a progress stream at what Nix is doing:
/// `building azure-image (2 of 5): buildPhase`.
pub fn show_progress(progress: ProgressSender) -> impl Fn(NixEvent) + Send + Sync + 'static {
    let state = Mutex::new(Shown::default());
    move |event| {
        let Ok(mut shown) = state.lock() else { return };
        if let Some(detail) = shown.update(event) {
            progress.detail(detail);
        }
    }
}

#[derive(Default)]
struct Shown {
    derivation: String,
    phase: String,
    done: u64,
    total: u64,
}

impl Shown {
    fn update(&mut self, event: NixEvent) -> Option<String> {
        match event {
            NixEvent::Evaluating { what } => return Some(format!("evaluating {what}")),
            NixEvent::Copying { path } => return Some(format!("copying {}", short_name(&path))),
            NixEvent::Downloading { url } => return Some(format!("downloading {url}")),
            NixEvent::Building { derivation } => {
                self.derivation = short_name(&derivation).to_owned();
                self.phase.clear();
            }
            NixEvent::Phase { derivation, phase } => {
                self.derivation = short_name(&derivation).to_owned();
                self.phase = phase;
            }
            NixEvent::Builds { done, total, .. } => {
                (self.done, self.total) = (done, total);
                if self.derivation.is_empty() {
                    return None;
                }
            }
            _ => return None,
        }
        let mut text = format!("building {}", self.derivation);
        if self.total > 1 {
            let current = (self.done + 1).min(self.total);
            let _ = write!(text, " ({current} of {})", self.total);
        }
        if !self.phase.is_empty() {
            let _ = write!(text, ": {}", self.phase);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv";

    #[test]
    fn progress_says_which_build_of_how_many() {
        let sender = ProgressSender::new();
        let reader = sender.subscribe();
        let listener = show_progress(sender);
        listener(NixEvent::Builds {
            done: 1,
            total: 5,
            running: 0,
            failed: 0,
        });
        listener(NixEvent::Building {
            derivation: DRV.to_owned(),
        });
        assert_eq!(reader.current().detail, "building azure-image (2 of 5)");
        listener(NixEvent::Phase {
            derivation: DRV.to_owned(),
            phase: "installPhase".into(),
        });
        assert_eq!(
            reader.current().detail,
            "building azure-image (2 of 5): installPhase"
        );
    }
}
