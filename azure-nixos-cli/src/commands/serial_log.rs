//! `serial-log`.

use std::io::{self, IsTerminal as _, Write as _};

use azure_nixos::vm::{SerialLog, SerialPart};
use serde::Serialize;

use crate::args::{Format, Global, SerialLog as Args};
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{CANCELLED, Failure, STOPPED, follow_saying};
use crate::terminal::{Harmless, Text};

/// One line of JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Event<'a> {
    Text { text: &'a str },
    Restarted { restarted: bool },
}

/// Where the log goes.
enum Printer {
    /// As it is.
    Bytes,
    Terminal(Harmless),
    Json(Text),
}

pub(crate) async fn serial_log(
    global: &Global,
    args: Args,
    console: &Console,
) -> Result<u8, Failure> {
    let connection = Connection::open(global).await?;
    let result = print(global, args, console, &connection).await;
    connection.close().await;
    result
}

async fn print(
    global: &Global,
    args: Args,
    console: &Console,
    connection: &Connection,
) -> Result<u8, Failure> {
    let machine = connection.machine(&args.vm).await?;
    if args.enable {
        let enabling = machine.enable_boot_diagnostics().start();
        for note in follow_saying(enabling, console, STOPPED).await?.notes {
            output::note(&note);
        }
    }
    let mut builder = machine.serial_log().follow(args.follow);
    if let Some(lines) = args.tail {
        builder = builder.tail(lines);
    }
    let mut log = console.interrupts.around(builder.open()).await?;
    let mut printer = match global.output {
        Format::Json => Printer::Json(Text::default()),
        Format::Text if io::stdout().is_terminal() => Printer::Terminal(Harmless::default()),
        Format::Text => Printer::Bytes,
    };
    // One wait for Ctrl-C around all of it: none falls between two parts.
    let ended = console
        .interrupts
        .around(read(&mut log, &mut printer))
        .await;
    printer.end()?;
    match ended {
        // There is no other end.
        Err(Failure::Library(error)) if error.is_cancelled() && args.follow => Ok(CANCELLED),
        ended => ended,
    }
}

async fn read(log: &mut SerialLog, printer: &mut Printer) -> Result<u8, Failure> {
    let mut is_empty = true;
    loop {
        match log.next().await? {
            Some(SerialPart::Bytes(bytes)) => {
                is_empty = false;
                if printer.print(&bytes)? {
                    return Ok(0);
                }
            }
            Some(_) => {
                printer.end()?;
                output::note("the log was cut or began anew; it follows from its beginning");
                if let Printer::Json(_) = printer {
                    output::json(&Event::Restarted { restarted: true })?;
                }
            }
            None if is_empty => {
                output::note(&format!(
                    "there is nothing in the serial log of {} yet",
                    log.name()
                ));
                return Ok(0);
            }
            None => return Ok(0),
        }
    }
}

impl Printer {
    /// Prints a part; true when nobody reads any more.
    fn print(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match self {
            Self::Bytes => write(bytes),
            Self::Terminal(harmless) => write(harmless.push(bytes).as_bytes()),
            Self::Json(text) => {
                let text = text.push(bytes);
                if !text.is_empty() {
                    output::json(&Event::Text { text: &text })?;
                }
                Ok(false)
            }
        }
    }

    /// Prints what was held back because more could have belonged to it.
    fn end(&mut self) -> Result<(), Failure> {
        match self {
            Self::Bytes => Ok(()),
            Self::Terminal(harmless) => write(harmless.end().as_bytes()).map(drop),
            Self::Json(text) => {
                let text = text.end();
                if text.is_empty() {
                    return Ok(());
                }
                output::json(&Event::Text { text: &text })
            }
        }
    }
}

/// Writes to standard output; true when its reader has gone away, which is no failure of ours.
fn write(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(Failure::Other(format!("cannot write the log: {error}"))),
    }
}
