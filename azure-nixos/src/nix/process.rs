//! Runs a command of Nix: both of its streams are drained at once, in bounded memory, and it is
//! stopped the way it wants to be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::command::{Command, Program};
use super::event::{NixEvent, Parser};
use super::log::Lines;
use crate::{Error, ErrorKind, Result};

/// Bytes of a line of events that are kept; builders may write lines without an end.
const LINE_LIMIT: usize = 64 << 10;
/// Standard output is paths or a little JSON; more than this is not what was asked for.
const OUTPUT_LIMIT: usize = 4 << 20;
/// What Nix started may outlive it with the pipes open, an ssh master connection for one.
const AFTER_EXIT: Duration = Duration::from_secs(2);

/// How to start programs.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    pub(super) programs: Option<PathBuf>,
    pub(super) directory: Option<PathBuf>,
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Between SIGINT and SIGKILL.
    pub(super) grace: Duration,
}

/// A command that has come to its end.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) parser: Parser,
}

impl Finished {
    /// The lines of standard output.
    pub(super) fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.stdout)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Interrupts a process group when it goes out of scope, unless the process has been waited for.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // The only failure is that it is gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::INT);
    }
}

impl Launcher {
    fn program(&self, program: Program) -> PathBuf {
        match &self.programs {
            Some(directory) => directory.join(program.name()),
            None => PathBuf::from(program.name()),
        }
    }

    /// A variable of the environment that Nix is given.
    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let own = self.environment.iter().rev().find(|(key, _)| key == name);
        own.map(|(_, value)| value.clone())
            .or_else(|| std::env::var_os(name))
    }

    fn prepare(&self, command: &Command) -> tokio::process::Command {
        let mut process = tokio::process::Command::new(self.program(command.program));
        process
            .args(&command.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C goes to its foreground group: we are told, and tell Nix once.
            .process_group(0)
            // Outside the foreground group a question on the terminal would stop Nix for ever. So
            // git and ssh must not ask; agents and askpass programs still work.
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("SSH_ASKPASS_REQUIRE", "force");
        if self.variable("SSH_ASKPASS").is_none() {
            process.env("SSH_ASKPASS", "false");
        }
        process.envs(self.environment.iter().map(|(key, value)| (key, value)));
        if let Some(directory) = command.directory.as_ref().or(self.directory.as_ref()) {
            process.current_dir(directory);
        }
        process
    }

    /// Runs a command to its end and hands its events to `events` as they come.
    ///
    /// # Errors
    /// When it cannot be started or waited for, or was cancelled. A status other than 0 is no error
    /// here.
    ///
    /// # Cancellation
    /// When `cancel` is cancelled Nix gets SIGINT, and SIGKILL after the grace. When this future is
    /// dropped it gets SIGINT, and nobody waits.
    pub(super) async fn run(
        &self,
        command: &Command,
        events: &(dyn Fn(NixEvent) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Finished> {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        tracing::debug!(argv = ?command.argv(), directory = ?command.directory, "starting nix");
        let mut child = self
            .prepare(command)
            .spawn()
            .map_err(|error| self.not_started(command, error))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = Group(pid.and_then(Pid::from_raw));
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();

        let mut parser = Parser::default();
        let mut output = Ok(Vec::new());
        let mut stop = None;
        let status = {
            let drain = async {
                tokio::join!(
                    async { output = read_output(stdout).await },
                    read_events(stderr, &mut parser, events)
                );
            };
            tokio::pin!(drain);
            let mut drained = false;
            let status = loop {
                let deadline = stop.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
                tokio::select! {
                    status = child.wait() => break status,
                    () = &mut drain, if !drained => drained = true,
                    () = cancel.cancelled(), if stop.is_none() => {
                        group.signal(Signal::INT);
                        stop = Some(Instant::now() + self.grace);
                    }
                    () = tokio::time::sleep_until(deadline), if stop.is_some() => {
                        group.signal(Signal::KILL);
                        stop = Some(Instant::now() + self.grace);
                    }
                }
            };
            group.0 = None;
            if !drained {
                let _ = tokio::time::timeout(AFTER_EXIT, drain).await;
            }
            status
        };
        if stop.is_some() {
            return Err(Error::cancelled().with_operation("run nix"));
        }
        let status = status.map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("cannot wait for {}", command.program.name()),
            )
            .with_source(error)
        })?;
        tracing::debug!(%status, "nix is done");
        Ok(Finished {
            status,
            stdout: output?,
            parser,
        })
    }

    fn not_started(&self, command: &Command, error: std::io::Error) -> Error {
        let program = self.program(command.program);
        let directory = command.directory.as_ref().or(self.directory.as_ref());
        // A directory that is gone gives the same error as a program that is not there.
        if error.kind() == std::io::ErrorKind::NotFound && directory.is_none_or(|d| d.is_dir()) {
            return Error::new(
                ErrorKind::Build,
                format!("nix is not installed: there is no program {}", program.display()),
            )
            .with_code(NOT_INSTALLED)
            .with_hint("install Nix 2.8 or newer from https://nixos.org/download, or put its bin directory on PATH; a finished disk image needs no Nix")
            .with_source(error);
        }
        Error::new(
            ErrorKind::Build,
            format!("cannot start {}", program.display()),
        )
        .with_source(error)
    }
}

/// The code of the error that says that there is no Nix here.
pub(super) const NOT_INSTALLED: &str = "NixNotInstalled";

async fn read_output(stream: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut output = Vec::new();
    let Some(mut stream) = stream else {
        return Ok(output);
    };
    let mut buffer = vec![0; 16 << 10];
    let mut too_long = false;
    loop {
        let count = stream.read(&mut buffer).await.map_err(|error| {
            Error::new(ErrorKind::Io, "cannot read what nix answers").with_source(error)
        })?;
        if count == 0 {
            break;
        }
        // Reading goes on, or Nix would wait for ever.
        too_long |= output.len() + count > OUTPUT_LIMIT;
        if !too_long {
            output.extend_from_slice(&buffer[..count]);
        }
    }
    if too_long {
        return Err(Error::new(
            ErrorKind::Build,
            format!(
                "nix answered with more than {OUTPUT_LIMIT} bytes where a store path was expected"
            ),
        ));
    }
    Ok(output)
}

async fn read_events(
    stream: Option<impl AsyncRead + Unpin>,
    parser: &mut Parser,
    events: &(dyn Fn(NixEvent) + Send + Sync),
) {
    let Some(mut stream) = stream else { return };
    let mut lines = Lines::new(LINE_LIMIT);
    let mut buffer = vec![0; 64 << 10];
    let mut each = |line: &[u8], cut: bool| {
        if let Some(event) = parser.line(line, cut) {
            trace(&event);
            events(event);
        }
    };
    // The status tells whether it failed; a stream that breaks has merely ended.
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        lines.push(&buffer[..count], &mut each);
    }
    lines.finish(&mut each);
}

fn trace(event: &NixEvent) {
    match event {
        NixEvent::BuildLog { derivation, line } => {
            tracing::debug!(target: "azure_nixos::nix::log", derivation, "{line}");
        }
        NixEvent::Builds { .. } => {}
        event => tracing::trace!(?event, "nix"),
    }
}

/// The current directory, or the one that stands for it.
pub(super) fn base(directory: Option<&Path>) -> Result<PathBuf> {
    std::path::absolute(directory.unwrap_or(Path::new("."))).map_err(|error| {
        Error::new(ErrorKind::Io, "cannot find the current directory").with_source(error)
    })
}
