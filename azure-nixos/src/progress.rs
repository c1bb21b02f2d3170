//! What a long operation says while it runs.
//!
//! There is one stream for all of them: a [`tokio::sync::watch`] channel that holds the newest
//! [`Progress`]. A slow reader misses intermediate states, never the last one, and never slows
//! the work down.

use std::time::Duration;

use tokio::sync::watch;

/// Where an operation is. The order is that of a whole run; not every run has every phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Nothing has been asked of anybody yet.
    #[default]
    Starting,
    /// Arguments, names and the login are being checked; nothing exists yet.
    Checking,
    /// Nix evaluates or builds.
    Building,
    /// The disk image is read and measured.
    Inspecting,
    /// The disk image is written into a file; see [`Progress::transfer`].
    Converting,
    /// The managed disk is being made.
    CreatingDisk,
    /// Bytes are on their way; see [`Progress::transfer`].
    Uploading,
    /// What arrived is compared with what was to be sent.
    Verifying,
    /// The upload is being committed: the footer is written, access ends and Azure checks it.
    Committing,
    /// The image is being made from the disk.
    CreatingImage,
    /// Addresses, rules and the network interface are being made.
    CreatingNetwork,
    /// The machine is being made and started.
    CreatingVm,
    /// A machine that exists is being started.
    StartingVm,
    /// A machine is being stopped.
    StoppingVm,
    /// A machine is being changed: its size, its settings.
    ChangingVm,
    /// A machine and what was made for it are being deleted.
    Deleting,
    /// The machine exists; what it is like is being asked.
    Waiting,
    /// The machine runs; it is waited for until ssh answers.
    WaitingForSsh,
    /// Something failed or was cancelled, and what was made is taken away again.
    Undoing,
    /// Done, well or not.
    Done,
}

impl Phase {
    /// The phase in the words of a progress line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Checking => "checking",
            Self::Building => "building",
            Self::Inspecting => "inspecting",
            Self::Converting => "converting",
            Self::CreatingDisk => "creating disk",
            Self::Uploading => "uploading",
            Self::Verifying => "verifying",
            Self::Committing => "committing",
            Self::CreatingImage => "creating image",
            Self::CreatingNetwork => "creating network",
            Self::CreatingVm => "creating machine",
            Self::StartingVm => "starting machine",
            Self::StoppingVm => "stopping machine",
            Self::ChangingVm => "changing machine",
            Self::Deleting => "deleting",
            Self::Waiting => "waiting",
            Self::WaitingForSsh => "waiting for ssh",
            Self::Undoing => "undoing",
            Self::Done => "done",
        }
    }
}

/// The counts of an upload, or of a conversion into a file, in bytes unless a name says otherwise.
/// Where something is written into a file, what is sent and acknowledged is what was written.
///
/// `sent + resumed + skipped` reaches `total` when the upload is complete: every byte of the target
/// is either written or known to be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Transfer {
    /// Length of the target: the disk, padded to a MiB, and the footer.
    pub total: u64,
    /// Read from the source.
    pub read: u64,
    /// Acknowledged by the service.
    pub sent: u64,
    /// There from an earlier upload that this one goes on with.
    pub resumed: u64,
    /// Holes and zeros: not sent because the target is zero there.
    pub skipped: u64,
    /// Sent and not yet answered.
    pub in_flight: u64,
    /// Write requests that were answered, successful or not.
    pub requests: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Acknowledged bytes per second, over the last few seconds.
    pub rate: f64,
    /// Time since the first byte.
    pub elapsed: Duration,
}

impl Transfer {
    /// The part of the target that is settled, from 0 to 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "a fraction for a bar")]
        let fraction = (self.sent + self.resumed + self.skipped) as f64 / self.total as f64;
        fraction.min(1.0)
    }

    /// The time until the end at the present rate, if nothing more turns out to be empty; `None`
    /// while nothing moves.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = self
            .total
            .saturating_sub(self.sent + self.resumed + self.skipped);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = left as f64 / self.rate;
        (self.rate > 0.0)
            .then(|| Duration::try_from_secs_f64(seconds).ok())
            .flatten()
    }
}

/// How far something is gone through that has to be read as a whole: a compressed disk image, or a disk
/// whose content is named or counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// Bytes of it: of a compressed image those of the file.
    pub total: u64,
    /// Where the reading is. Holes are passed without being read.
    pub read: u64,
}

/// A state of a long operation.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Where it is.
    pub phase: Phase,
    /// What is being worked on, for a person: a derivation, a resource name. May be empty.
    pub detail: String,
    /// The counts of the upload, from its beginning on.
    pub transfer: Option<Transfer>,
    /// How far the reading of the disk image is, while there is one in this phase.
    pub reading: Option<Reading>,
}

/// The sending side, handed down to whatever does the work.
#[derive(Clone, Debug)]
pub struct ProgressSender(watch::Sender<Progress>);

impl ProgressSender {
    /// A new stream, at [`Phase::Starting`].
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Progress::default()))
    }

    /// A reader of this stream.
    #[must_use]
    pub fn subscribe(&self) -> ProgressReceiver {
        ProgressReceiver(self.0.subscribe())
    }

    /// Enters a phase.
    pub fn phase(&self, phase: Phase, detail: impl Into<String>) {
        let detail = detail.into();
        tracing::debug!(phase = phase.as_str(), detail, "phase");
        self.0.send_modify(|progress| {
            progress.phase = phase;
            progress.detail = detail;
            progress.reading = None;
        });
    }

    /// Replaces the detail of the current phase.
    pub fn detail(&self, detail: impl Into<String>) {
        let detail = detail.into();
        self.0.send_modify(|progress| progress.detail = detail);
    }

    /// Says how far the reading of the disk image is.
    pub fn reading(&self, reading: Reading) {
        self.0
            .send_modify(|progress| progress.reading = Some(reading));
    }

    /// Replaces the counts of the upload.
    pub fn transfer(&self, transfer: Transfer) {
        self.0
            .send_modify(|progress| progress.transfer = Some(transfer));
    }
}

impl Default for ProgressSender {
    fn default() -> Self {
        Self::new()
    }
}

/// The reading side of an operation's progress.
#[derive(Clone, Debug)]
pub struct ProgressReceiver(watch::Receiver<Progress>);

impl ProgressReceiver {
    /// The newest state.
    #[must_use]
    pub fn current(&self) -> Progress {
        self.0.borrow().clone()
    }

    /// Waits for a state that was not seen yet; `None` when the operation is over.
    ///
    /// # Cancellation
    /// Safe: a dropped future loses no state, the next call returns the newest.
    pub async fn changed(&mut self) -> Option<Progress> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// The plain channel, for `select!` and combinators.
    #[must_use]
    pub fn into_watch(self) -> watch::Receiver<Progress> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_sees_the_newest_state_and_then_the_end() {
        let sender = ProgressSender::new();
        let mut reader = sender.subscribe();
        sender.phase(Phase::Building, "web");
        sender.phase(Phase::Uploading, "");
        assert_eq!(reader.changed().await.unwrap().phase, Phase::Uploading);
        drop(sender);
        assert_eq!(reader.changed().await, None);
    }

    #[test]
    fn a_fraction_counts_what_is_settled() {
        let transfer = Transfer {
            total: 100,
            sent: 20,
            skipped: 30,
            ..Transfer::default()
        };
        assert!((transfer.fraction() - 0.5).abs() < 1e-9);
        assert_eq!(transfer.remaining(), None);
        let moving = Transfer {
            rate: 25.0,
            resumed: 10,
            ..transfer
        };
        assert_eq!(moving.remaining(), Some(Duration::from_millis(1600)));
    }
}
