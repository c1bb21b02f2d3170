//! What the serial console of a machine says about how far it got, and which keys it has.

use std::time::Duration;

use super::host_keys::{HostKeys, Reader};
use crate::azure::Azure;
use crate::quote::visible;
use crate::vm::machines::Machines;
use crate::vm::serial_log::{SerialLogBuilder, SerialPart};
use crate::{Error, ErrorKind, Result};

/// Lines of the end that are shown, and characters of each.
const LINES: u64 = 30;
const WIDTH: usize = 200;

/// What is kept of the end while it is read.
const MOST_KEPT: usize = 64 << 10;

/// What is read of a log at most: Azure keeps less.
const MOST_READ: usize = 64 << 20;

/// Time for reading it: it is asked for when something else has failed or is done already.
const PATIENCE: Duration = Duration::from_secs(60);

/// The serial console of one machine.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    azure: Azure,
    group: String,
    name: String,
}

impl Console {
    pub(crate) fn new(azure: &Azure, group: &str, name: &str) -> Self {
        Self {
            azure: azure.clone(),
            group: group.to_owned(),
            name: name.to_owned(),
        }
    }

    fn log(&self) -> SerialLogBuilder {
        let machines = Machines::new(&self.azure);
        machines.machine(&self.group, &self.name).serial_log()
    }

    /// The error with the last lines of the console, or with why there are none.
    pub(crate) async fn explain(&self, error: Error) -> Error {
        error.with_context("the end of its serial console", self.end().await)
    }

    /// The last lines, each on a line of its own and moved to the right.
    async fn end(&self) -> String {
        let mut kept = Vec::new();
        let read = self.read(self.log().tail(LINES), |bytes| match bytes {
            Some(bytes) => {
                kept.extend_from_slice(bytes);
                let surplus = kept.len().saturating_sub(MOST_KEPT);
                kept.drain(..surplus);
            }
            None => kept.clear(),
        });
        match read.await {
            Err(error) => format!("not known: {error}"),
            Ok(()) => last_lines(&kept),
        }
    }

    /// The host keys that it shows.
    ///
    /// # Errors
    /// When there is no log, or it cannot be read.
    pub(crate) async fn host_keys(&self) -> Result<HostKeys> {
        let mut reader = Reader::default();
        self.read(self.log(), |bytes| match bytes {
            Some(bytes) => reader.push(bytes),
            None => reader.start_again(),
        })
        .await?;
        Ok(reader.finish())
    }

    /// Reads it piece by piece; `None` says that it begins anew.
    async fn read(
        &self,
        log: SerialLogBuilder,
        mut piece: impl FnMut(Option<&[u8]>) + Send,
    ) -> Result<()> {
        let reading = async {
            let mut log = log.await?;
            let mut read = 0;
            while read < MOST_READ {
                match log.next().await? {
                    Some(SerialPart::Bytes(bytes)) => {
                        read += bytes.len();
                        piece(Some(&bytes));
                    }
                    Some(SerialPart::StartedAgain) => piece(None),
                    None => break,
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "the serial log of {} could not be read in a minute",
                        self.name
                    ),
                ))
            })
    }
}

fn last_lines(bytes: &[u8]) -> String {
    let text = without_colours(&String::from_utf8_lossy(bytes));
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| line.trim_end_matches(['\r', '\0', ' ']))
        .collect();
    let last = lines.iter().rposition(|line| !line.is_empty());
    let Some(last) = last else {
        return "it has said nothing".to_owned();
    };
    let first = (last + 1).saturating_sub(usize::try_from(LINES).unwrap_or(usize::MAX));
    lines[first..=last]
        .iter()
        .map(|line| {
            let shown = line.chars().take(WIDTH).map(|c| match c {
                '\r' => '\u{240d}',
                c => visible(c),
            });
            format!("\n    {}", shown.collect::<String>())
        })
        .collect()
}

/// Without the sequences that set colours, which a console of systemd is full of.
fn without_colours(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        shown.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';');
        rest = match end {
            Some(end) if after[end..].starts_with('m') => &after[end + 1..],
            _ => {
                shown.push_str("\u{1b}[");
                after
            }
        };
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_shown_and_not_obeyed() {
        assert_eq!(last_lines(b""), "it has said nothing");
        assert_eq!(last_lines(b"\r\n\n\0\0"), "it has said nothing");
        let log = "[\u{1b}[0;32m  OK  \u{1b}[0m] Started\r\n\u{1b}[2Jgone\u{7}\r\nweb-1 login: ";
        assert_eq!(
            last_lines(log.as_bytes()),
            "\n    [  OK  ] Started\n    \u{241b}[2Jgone\u{2407}\n    web-1 login:"
        );
        let many: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let shown = last_lines(many.as_bytes());
        assert!(shown.starts_with("\n    line 70\n") && shown.ends_with("line 99"));
        let wide = last_lines("x".repeat(10_000).as_bytes());
        assert_eq!(wide.len(), WIDTH + 5);
        assert_eq!(last_lines(b"a\x1b[31"), "\n    a\u{241b}[31");
    }
}
