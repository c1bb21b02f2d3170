//! Progress on standard error: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use azure_nixos::ByteSize;
use azure_nixos::progress::{Phase, Progress, Transfer};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::args::ProgressMode;
use crate::output;
use crate::run::Interrupts;

/// Time between two lines about the same upload.
const EVERY: Duration = Duration::from_secs(5);

/// Standard error as a place for progress.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    bars: MultiProgress,
    mode: Mode,
    pub(crate) interrupts: Interrupts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    Silent,
}

impl Console {
    pub(crate) fn new(mode: ProgressMode) -> Self {
        let mode = match mode {
            ProgressMode::None => Mode::Silent,
            ProgressMode::Auto if std::io::stderr().is_terminal() => Mode::Bar,
            ProgressMode::Auto | ProgressMode::Plain => Mode::Lines,
        };
        Self {
            bars: MultiProgress::new(),
            mode,
            interrupts: Interrupts::default(),
        }
    }

    /// Runs something that writes to standard error while a bar may be there.
    pub(crate) fn above<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.mode == Mode::Bar {
            self.bars.suspend(write)
        } else {
            write()
        }
    }

    /// Says how something went, unless progress is not wanted.
    pub(crate) fn say(&self, message: &str) {
        if self.mode != Mode::Silent {
            output::note(message);
        }
    }

    /// A view of one operation.
    pub(crate) fn view(&self) -> View {
        View {
            bar: (self.mode == Mode::Bar).then(|| {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            }),
            lines: self.mode == Mode::Lines,
            phase: None,
            detail: String::new(),
            last: Instant::now(),
        }
    }
}

/// What is shown of one operation.
#[derive(Debug)]
pub(crate) struct View {
    bar: Option<ProgressBar>,
    lines: bool,
    phase: Option<Phase>,
    detail: String,
    last: Instant,
}

impl View {
    pub(crate) fn show(&mut self, progress: &Progress) {
        let new = self.phase != Some(progress.phase) || self.detail != progress.detail;
        if new {
            self.phase = Some(progress.phase);
            self.detail.clone_from(&progress.detail);
        }
        let transfer = progress
            .transfer
            .filter(|_| progress.phase == Phase::Uploading);
        if let Some(bar) = &self.bar {
            bar.set_style(style(transfer.is_some()));
            bar.set_message(title(progress));
            if let Some(transfer) = transfer {
                bar.set_length(transfer.total);
                bar.set_position(transfer.sent + transfer.skipped);
                bar.set_prefix(counts(&transfer));
            }
        }
        if !self.lines || progress.phase == Phase::Done {
            return;
        }
        match transfer {
            Some(transfer) if new || self.last.elapsed() >= EVERY => {
                self.last = Instant::now();
                output::note(&format!(
                    "{}: {:.0} %, {}",
                    title(progress),
                    transfer.fraction() * 100.0,
                    counts(&transfer)
                ));
            }
            None if new => {
                self.last = Instant::now();
                output::note(&title(progress));
            }
            _ => {}
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn title(progress: &Progress) -> String {
    if progress.detail.is_empty() {
        progress.phase.as_str().to_owned()
    } else {
        format!("{} {}", progress.phase.as_str(), progress.detail)
    }
}

fn counts(transfer: &Transfer) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for a person"
    )]
    let rate = ByteSize::bytes(transfer.rate.max(0.0) as u64);
    let mut text = format!(
        "{} sent, {} empty, {rate}/s",
        ByteSize::bytes(transfer.sent),
        ByteSize::bytes(transfer.skipped)
    );
    if transfer.retries > 0 {
        text.push_str(&format!(", {} retries", transfer.retries));
    }
    text
}

fn style(bar: bool) -> ProgressStyle {
    let template = if bar {
        "{spinner} {msg} [{bar:30}] {percent} % {prefix} {elapsed}"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    // A template that is wrong would show in every run; the default is better than a panic.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid() {
        for template in [
            "{spinner} {msg} [{bar:30}] {percent} % {prefix} {elapsed}",
            "{spinner} {msg} {elapsed}",
        ] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn a_line_has_the_counts() {
        let mut transfer = Transfer::default();
        transfer.total = 100 << 20;
        transfer.sent = 20 << 20;
        transfer.skipped = 30 << 20;
        transfer.rate = f64::from(60 << 20);
        transfer.retries = 2;
        assert_eq!(
            counts(&transfer),
            "20 MiB sent, 30 MiB empty, 60 MiB/s, 2 retries"
        );
    }
}
