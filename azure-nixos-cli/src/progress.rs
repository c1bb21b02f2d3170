//! Progress on standard error: a bar on a terminal, lines elsewhere, or JSON for a program.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use azure_nixos::ByteSize;
use azure_nixos::progress::{Phase, Progress, Reading, Transfer};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::ProgressMode;
use crate::interrupt::Interrupts;
use crate::output;

/// Time between two lines about the same upload.
const EVERY: Duration = Duration::from_secs(5);
/// Time between two JSON objects about it.
const EVENTS: Duration = Duration::from_millis(500);

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
    Events,
    Silent,
}

impl Console {
    pub(crate) fn new(mode: ProgressMode) -> Self {
        let mode = match mode {
            ProgressMode::None => Mode::Silent,
            ProgressMode::Json => Mode::Events,
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
        if !matches!(self.mode, Mode::Silent | Mode::Events) {
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
            events: self.mode == Mode::Events,
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
    events: bool,
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
            .filter(|_| matches!(progress.phase, Phase::Uploading | Phase::Converting));
        if let Some(bar) = &self.bar {
            bar.set_style(style(transfer.is_some() || progress.reading.is_some()));
            bar.set_message(title(progress));
            if let Some(reading) = progress.reading {
                bar.set_length(reading.total);
                bar.set_position(reading.read);
                bar.set_prefix(passed(reading));
            }
            if let Some(transfer) = transfer {
                bar.set_length(transfer.total);
                bar.set_position(transfer.sent + transfer.resumed + transfer.skipped);
                bar.set_prefix(counts(progress.phase, &transfer));
            }
        }
        if self.events && (new || self.last.elapsed() >= EVENTS) {
            self.last = Instant::now();
            output::event(&Event::of(progress));
        }
        if !self.lines || progress.phase == Phase::Done {
            return;
        }
        match transfer {
            None if !new && self.last.elapsed() >= EVERY => {
                if let Some(reading) = progress.reading {
                    self.last = Instant::now();
                    output::note(&format!("{}: {}", title(progress), passed(reading)));
                }
            }
            Some(transfer) if new || self.last.elapsed() >= EVERY => {
                self.last = Instant::now();
                output::note(&format!(
                    "{}: {:.0} %, {}",
                    title(progress),
                    transfer.fraction() * 100.0,
                    counts(progress.phase, &transfer)
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

/// A state as one JSON object. Bytes, seconds, and bytes per second.
#[derive(Debug, Serialize)]
struct Event<'a> {
    phase: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<EventTransfer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reading: Option<EventReading>,
}

#[derive(Debug, Serialize)]
struct EventReading {
    total: u64,
    read: u64,
}

#[derive(Debug, Serialize)]
struct EventTransfer {
    total: u64,
    read: u64,
    sent: u64,
    resumed: u64,
    skipped: u64,
    in_flight: u64,
    requests: u64,
    retries: u64,
    rate: f64,
    elapsed: f64,
    /// `null` while nothing moves.
    remaining_at_most: Option<f64>,
}

impl<'a> Event<'a> {
    fn of(progress: &'a Progress) -> Self {
        Self {
            phase: progress.phase.as_str(),
            detail: &progress.detail,
            reading: progress.reading.map(|reading| EventReading {
                total: reading.total,
                read: reading.read,
            }),
            transfer: progress.transfer.map(|transfer| EventTransfer {
                total: transfer.total,
                read: transfer.read,
                sent: transfer.sent,
                resumed: transfer.resumed,
                skipped: transfer.skipped,
                in_flight: transfer.in_flight,
                requests: transfer.requests,
                retries: transfer.retries,
                rate: transfer.rate,
                elapsed: transfer.elapsed.as_secs_f64(),
                remaining_at_most: transfer.remaining().map(|left| left.as_secs_f64()),
            }),
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

/// How far a reading is.
fn passed(reading: Reading) -> String {
    format!(
        "{} of {}",
        ByteSize::bytes(reading.read),
        ByteSize::bytes(reading.total)
    )
}

fn counts(phase: Phase, transfer: &Transfer) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for a person"
    )]
    let rate = ByteSize::bytes(transfer.rate.max(0.0) as u64);
    let mut text = format!(
        "{} {}, {} empty, {rate}/s",
        ByteSize::bytes(transfer.sent),
        if phase == Phase::Converting {
            "written"
        } else {
            "sent"
        },
        ByteSize::bytes(transfer.skipped)
    );
    if transfer.resumed > 0 {
        text.push_str(&format!(
            ", {} there before",
            ByteSize::bytes(transfer.resumed)
        ));
    }
    if let Some(left) = transfer.remaining().filter(|left| left.as_secs() >= 10) {
        text.push_str(&format!(", {} left at most", duration(left)));
    }
    if transfer.retries > 0 {
        text.push_str(&format!(", {} retries", transfer.retries));
    }
    text
}

/// `3 h 20 min`, `4 min`, `50 s`: what is left need not be known better.
fn duration(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
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
            counts(Phase::Uploading, &transfer),
            "20 MiB sent, 30 MiB empty, 60 MiB/s, 2 retries"
        );
        transfer.rate = f64::from(1 << 16);
        transfer.resumed = 1 << 20;
        assert_eq!(
            counts(Phase::Uploading, &transfer),
            "20 MiB sent, 30 MiB empty, 64 KiB/s, 1 MiB there before, 13 min left at most, 2 retries"
        );
        assert_eq!(duration(Duration::from_secs(12_000)), "3 h 20 min");
    }
}
