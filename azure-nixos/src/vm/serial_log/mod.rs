//! [`SerialLog`]: what the serial console of a machine has said, and says.
//!
//! The service keeps it in a blob that grows, that is cut when it grows too long, and that begins anew
//! at times. Only its length is known of it, so the last few bytes that were read are read once more
//! with what follows them: when they are others, it is another log.

mod blob;
#[cfg(test)]
mod tests;

use std::future::IntoFuture;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use self::blob::Answer;
use super::info::keeps_log;
use super::machines::{check_names, existing};
use super::patience::when_free;
use crate::arm::Client;
use crate::azure::{Azure, Transport};
use crate::handle::Work;
use crate::{Error, ErrorKind, Result, SasUrl};

/// What is read at a time, and kept in memory, at most.
const CHUNK: u64 = 1 << 20;

/// The same when the log is read backwards for the beginning of a line.
const BACKWARDS: u64 = 64 << 10;

/// Bytes by which it is known that the log is still the same one.
const OVERLAP: usize = 256;

/// The service writes the log out a few times a minute.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks at a log that is not there before the machine itself is looked at.
const PATIENT_LOOKS: u32 = 15;

/// How a serial log is to be read. Await it, or [`open`](Self::open) it.
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is opened"]
pub struct SerialLogBuilder {
    azure: Azure,
    group: String,
    name: String,
    follow: bool,
    tail: Option<u64>,
    interval: Duration,
}

/// The serial log of a machine, to be read with [`next`](Self::next). No more of it is kept in memory
/// than one part, of a MiB at most.
pub struct SerialLog {
    source: Box<dyn Source>,
    name: String,
    follow: bool,
    interval: Duration,
    /// Lines to go back, until that was done.
    tail: Option<u64>,
    /// What was read, from the beginning of the log.
    offset: u64,
    /// The last bytes before that.
    seen: Vec<u8>,
    /// Where it ends when it is not followed: what is written meanwhile could go on for ever.
    end: Option<u64>,
    /// Looks in a row without a log.
    missing: u32,
}

/// A part of a serial log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SerialPart {
    /// What the console said, as it said it: any bytes, and not necessarily whole lines or characters.
    Bytes(Bytes),
    /// The log is not the one any more that was read until now: it was cut, or began anew. It follows
    /// from its beginning.
    StartedAgain,
}

/// Where a log is read from.
#[async_trait]
trait Source: Send + Sync {
    async fn read(&mut self, range: Range<u64>) -> Result<Answer>;
    /// Gets a new access, or learns that there is no machine any more.
    async fn renew(&mut self) -> Result<()>;
}

impl SerialLogBuilder {
    pub(super) fn new(azure: &Azure, group: String, name: String) -> Self {
        Self {
            azure: azure.clone(),
            group,
            name,
            follow: false,
            tail: None,
            interval: INTERVAL,
        }
    }

    /// Goes on at the end of the log, and waits for more. Without it the log ends where it ends.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Begins so many lines before the end.
    pub fn tail(mut self, lines: u64) -> Self {
        self.tail = Some(lines);
        self
    }

    /// Time between two looks at a log that is followed; the default is two seconds.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Gets access to it. Nothing is read yet.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such machine; [`ErrorKind::Conflict`] when its boot
    /// diagnostics are off, with how to turn them on as the hint.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    pub async fn open(self) -> Result<SerialLog> {
        check_names(&self.group, &self.name)?;
        let client = Client::new(&self.azure)?;
        let machine = existing(&client, &self.group, &self.name).await?;
        let is_kept = keeps_log(&machine);
        let name = machine.name.unwrap_or(self.name);
        if !is_kept {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the serial log of {name} is not kept: its boot diagnostics are off"),
            )
            .with_hint(format!(
                "turn them on (azure-nixos serial-log --enable -g {} -n {name}); what the console says from then on is kept",
                self.group
            )));
        }
        let mut source = Blob {
            client,
            transport: self.azure.transport().clone(),
            group: self.group,
            name: name.clone(),
            sas: None,
        };
        source.renew().await?;
        let mut log = SerialLog::of(Box::new(source), name, self.follow, self.tail);
        log.interval = self.interval;
        Ok(log)
    }
}

impl IntoFuture for SerialLogBuilder {
    type Output = Result<SerialLog>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl std::fmt::Debug for SerialLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SerialLog")
            .field("name", &self.name)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl SerialLog {
    fn of(source: Box<dyn Source>, name: String, follow: bool, tail: Option<u64>) -> Self {
        Self {
            source,
            name,
            follow,
            interval: INTERVAL,
            tail,
            offset: 0,
            seen: Vec::new(),
            end: None,
            missing: 0,
        }
    }

    /// The name of the machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next part; `None` at the end of a log that is not followed, or that does not exist yet. One
    /// that is followed has no end: this waits for more.
    ///
    /// # Errors
    /// When the log cannot be read; [`ErrorKind::NotFound`] when the machine is gone.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is lost, the next call returns the same part.
    pub async fn next(&mut self) -> Result<Option<SerialPart>> {
        loop {
            if let Some(part) = self.look().await? {
                return Ok(Some(part));
            }
            if !self.follow {
                return Ok(None);
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// What there is now.
    async fn look(&mut self) -> Result<Option<SerialPart>> {
        if let Some(lines) = self.tail {
            match self.go_back(lines).await? {
                Some(offset) => self.offset = offset,
                None => return self.is_missing().await,
            }
            self.tail = None;
        }
        let start = self.offset - self.seen.len() as u64;
        let mut end = self.offset + CHUNK;
        if let Some(last) = self.end {
            end = end.min(last);
        }
        if end <= self.offset {
            return Ok(None);
        }
        let (mut bytes, total) = match self.ask(start..end).await? {
            Answer::Part { bytes, total } => (bytes, total),
            Answer::Missing => return self.is_missing().await,
            Answer::Beyond { total } => {
                let is_shorter = total.map_or(!self.seen.is_empty(), |total| total < self.offset);
                return Ok(is_shorter.then(|| self.start_again()));
            }
            Answer::Refused { code } => return Err(refused(&self.name, &code)),
        };
        self.missing = 0;
        if !self.follow {
            self.end.get_or_insert(total);
        }
        if !bytes.starts_with(&self.seen) {
            return Ok(Some(self.start_again()));
        }
        let is_end = start + bytes.len() as u64 >= total;
        let mut new = bytes.split_off(self.seen.len());
        if is_end {
            // A page blob is longer than what was written to it.
            let written = new.iter().rposition(|byte| *byte != 0);
            new.truncate(written.map_or(0, |last| last + 1));
        }
        if new.is_empty() {
            return Ok(None);
        }
        self.offset += new.len() as u64;
        let tail = new.len().saturating_sub(OVERLAP);
        self.seen.extend_from_slice(&new[tail..]);
        let surplus = self.seen.len().saturating_sub(OVERLAP);
        self.seen.drain(..surplus);
        Ok(Some(SerialPart::Bytes(new)))
    }

    fn start_again(&mut self) -> SerialPart {
        self.offset = 0;
        self.seen.clear();
        self.end = None;
        SerialPart::StartedAgain
    }

    async fn is_missing(&mut self) -> Result<Option<SerialPart>> {
        if self.offset > 0 {
            return Ok(Some(self.start_again()));
        }
        self.missing += 1;
        if self.missing.is_multiple_of(PATIENT_LOOKS) {
            self.source.renew().await?;
        }
        Ok(None)
    }

    /// Reads, with a new access if the old one is over.
    async fn ask(&mut self, range: Range<u64>) -> Result<Answer> {
        match self.source.read(range.clone()).await? {
            Answer::Refused { .. } => {
                self.source.renew().await?;
                self.source.read(range).await
            }
            answer => Ok(answer),
        }
    }

    /// Where the last so many lines begin; `None` when there is no log.
    async fn go_back(&mut self, lines: u64) -> Result<Option<u64>> {
        let mut start = match self.ask(0..1).await? {
            Answer::Part { total, .. } => total,
            Answer::Beyond { .. } => return Ok(Some(0)),
            Answer::Missing => return Ok(None),
            Answer::Refused { code } => return Err(refused(&self.name, &code)),
        };
        let mut is_padding = true;
        let mut left = lines;
        while start > 0 {
            let end = start;
            start = end.saturating_sub(BACKWARDS);
            let bytes = match self.ask(start..end).await? {
                Answer::Part { bytes, .. } => bytes,
                // It was cut meanwhile.
                Answer::Beyond { .. } | Answer::Missing => return Ok(Some(0)),
                Answer::Refused { code } => return Err(refused(&self.name, &code)),
            };
            for (at, byte) in bytes.iter().enumerate().rev() {
                if is_padding && *byte == 0 {
                    continue;
                }
                // What ends the last line begins no other.
                let is_last = std::mem::replace(&mut is_padding, false);
                if lines > 0 && (*byte != b'\n' || is_last) {
                    continue;
                }
                if left <= 1 {
                    return Ok(Some(start + at as u64 + 1));
                }
                left -= 1;
            }
        }
        Ok(Some(0))
    }
}

fn refused(name: &str, code: &str) -> Error {
    let said = if code.is_empty() {
        "the service refuses its own access"
    } else {
        code
    };
    Error::new(
        ErrorKind::Forbidden,
        format!("cannot read the serial log of {name}: {said}"),
    )
    .with_code(code)
    .with_hint("a firewall between here and the storage of Azure may forbid it")
}

/// The log where the service keeps it.
struct Blob {
    client: Client,
    transport: Transport,
    group: String,
    name: String,
    sas: Option<SasUrl>,
}

#[async_trait]
impl Source for Blob {
    async fn read(&mut self, range: Range<u64>) -> Result<Answer> {
        match &self.sas {
            Some(sas) => blob::read(&self.transport, sas, range).await,
            None => Ok(Answer::Refused {
                code: String::new(),
            }),
        }
    }

    async fn renew(&mut self) -> Result<()> {
        // Nobody cancels it: it is dropped with the future of whoever reads.
        let request = || self.client.serial_log_url(&self.group, &self.name);
        self.sas = Some(when_free(&Work::default(), request).await?);
        Ok(())
    }
}
