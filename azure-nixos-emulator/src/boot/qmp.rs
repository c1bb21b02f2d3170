//! qemu's machine protocol (QMP): one JSON document a line, in both directions.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// How often a socket that is not there yet is tried again.
const POLL: Duration = Duration::from_millis(20);

/// The longest path that a socket can be reached by, on all systems.
const LONGEST_PATH: usize = 100;

/// A connection that commands can be sent on.
#[derive(Debug)]
pub(super) struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
}

impl Qmp {
    /// Waits for the socket `qmp` of a directory, and for qemu to be ready. Has no end of its own.
    pub(super) async fn connect(directory: &Path) -> io::Result<Self> {
        let opened = std::fs::File::open(directory)?;
        let path = reachable(directory, &opened);
        let stream = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => break stream,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    tokio::time::sleep(POLL).await;
                }
                Err(error) => return Err(error),
            }
        };
        let (reader, writer) = stream.into_split();
        let mut qmp = Self {
            lines: BufReader::new(reader).lines(),
            writer,
        };
        // The greeting; then it takes commands once it is asked what the client can.
        qmp.next().await?;
        qmp.execute("qmp_capabilities", json!({})).await?;
        while qmp.next().await?.get("return").is_none() {}
        Ok(qmp)
    }

    /// Sends a command. What it returns comes with [`next`](Self::next), under its name.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> io::Result<()> {
        let line = json!({ "execute": command, "arguments": arguments, "id": command });
        self.writer.write_all(format!("{line}\n").as_bytes()).await
    }

    /// The next answer or event. Nothing is lost when this is not waited for to its end.
    pub(super) async fn next(&mut self) -> io::Result<Value> {
        let line = self
            .lines
            .next_line()
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

/// A path of the socket that is short enough.
fn reachable(directory: &Path, opened: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd as _;

    let path = directory.join("qmp");
    if path.as_os_str().len() <= LONGEST_PATH {
        path
    } else {
        // Linux shows open directories there.
        PathBuf::from(format!("/proc/self/fd/{}/qmp", opened.as_raw_fd()))
    }
}
