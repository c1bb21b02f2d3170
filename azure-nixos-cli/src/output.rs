//! What is printed, and where.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this module is for"
)]

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::progress::Console;
use crate::run::Failure;

/// Prints a result. A reader that has gone away is no failure of ours.
pub(crate) fn result(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a result as one line of JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::Other(format!("cannot write the result as JSON: {error}")))?;
    result(&text)
}

/// Says why a command failed.
pub(crate) fn failure(message: &str) {
    let _ = writeln!(io::stderr(), "{} {message}", paint("error:", "31"));
}

/// Says something that should be known.
pub(crate) fn warning(message: &str) {
    let _ = writeln!(io::stderr(), "{} {message}", paint("warning:", "33"));
}

/// Says something.
pub(crate) fn note(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Says something to a program: one line of JSON.
pub(crate) fn event<T: Serialize>(value: &T) {
    if let Ok(text) = serde_json::to_string(value) {
        note(&text);
    }
}

fn paint(text: &str, colour: &str) -> String {
    if io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    {
        format!("\u{1b}[1;{colour}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// Sends the library's events to standard error: warnings always, the rest as often as `-v` was
/// given. `AZURE_NIXOS_LOG` takes a filter of its own.
pub(crate) fn start_log(verbose: u8, console: &Console) {
    let filter = std::env::var("AZURE_NIXOS_LOG").unwrap_or_else(|_| {
        match verbose {
            0 => "warn",
            1 => "warn,azure_nixos=info,azure_nixos::nix::log=debug,azure_nixos_emulator=info",
            2 => "info,azure_nixos=debug,azure_nixos_emulator=debug",
            _ => "trace",
        }
        .to_owned()
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(AboveBar(console.clone()))
        .with_ansi(io::stderr().is_terminal())
        .with_target(verbose > 1);
    if verbose > 1 {
        builder.init();
    } else {
        builder.without_time().init();
    }
}

/// Writes above the progress bar, not through it.
#[derive(Clone)]
struct AboveBar(Console);

impl<'a> MakeWriter<'a> for AboveBar {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.above(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
