//! `ssh`.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use azure_nixos::vm::{Login, SshCommand};
use rustix::process::{self, Pid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Global, Ssh};
use crate::connect::Connection;
use crate::output;
use crate::run::Failure;

/// What `ssh` ends with when it is not the command that failed.
const FAILED: u8 = 255;

pub(crate) async fn ssh(global: &Global, args: Ssh) -> Result<u8, Failure> {
    let connection = Connection::open(global).await?;
    let found = find(&args, &connection).await;
    connection.close().await;
    let (login, command) = found?;
    for note in &command.notes {
        output::note(note);
    }
    let mut program = Command::new("ssh");
    program.args(&command.arguments).args(&args.command);
    let lost = |error| Failure::Other(format!("ssh was lost: {error}"));
    let mut signals = Signals::listen().map_err(lost)?;
    let child = program.spawn().map_err(|error| {
        Failure::Other(if error.kind() == io::ErrorKind::NotFound {
            "ssh is not installed\n  hint: install OpenSSH's client (the package openssh-client, or openssh)".to_owned()
        } else {
            format!("ssh cannot be started: {error}")
        })
    })?;
    let code = code(signals.wait(child).await.map_err(lost)?);
    if code == FAILED {
        output::note(&login.hint());
    }
    Ok(code)
}

async fn find(args: &Ssh, connection: &Connection) -> Result<(Login, SshCommand), Failure> {
    let machine = connection.machine(&args.vm).await?;
    let mut login = machine.login().await?;
    if let Some(path) = &args.identity {
        login = login.identity(path)?;
    }
    if let Some(user) = &args.user {
        login.user = Some(user.clone());
    }
    if let Some(port) = args.port {
        login.port = port;
    }
    // What cannot be logged into is not asked for its keys.
    login.check()?;
    let trust = login.learn_host_keys(&connection.azure).await?;
    let command = login.ssh(&trust)?;
    Ok((login, command))
}

/// What asks this program to end. It is passed on to `ssh`, so that both end together and with its status.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn wait(&mut self, mut child: Child) -> io::Result<ExitStatus> {
        loop {
            let passed_on = tokio::select! {
                status = child.wait() => return status,
                _ = self.interrupt.recv() => process::Signal::INT,
                _ = self.terminate.recv() => process::Signal::TERM,
                _ = self.hangup.recv() => process::Signal::HUP,
                _ = self.quit.recv() => process::Signal::QUIT,
            };
            let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            if let Some(id) = id {
                // One that has just ended needs no signal.
                let _ = process::kill_process(id, passed_on);
            }
        }
    }
}

/// As a shell has it: 128 and more for a signal.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}
