//! From arguments to an exit status.

use std::sync::{Arc, Mutex, PoisonError};

use azure_nixos::{CancelHandle, Error, Handle};

use crate::args::{Cli, Command};
use crate::commands;
use crate::output;
use crate::progress::Console;

/// Exit statuses.
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const CANCELLED: u8 = 130;

/// Why a command ended without a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The words of the command line do not go together.
    Usage(String),
    /// The library said no.
    Library(Error),
    /// The local Azure, the terminal, a file of the demo.
    Other(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

/// Runs a command and says how it ended.
pub(crate) async fn run(cli: Cli, console: &Console) -> u8 {
    let global = &cli.global;
    let result = match cli.command {
        Command::UploadImage(args) => commands::upload_image(global, *args, console).await,
        Command::BootVm(args) => commands::boot_vm(global, *args, console).await,
        Command::UploadVhd(args) => commands::upload_vhd(global, *args, console).await,
        Command::Inspect(args) => commands::inspect(global, args).await,
        Command::Convert(args) => commands::convert(global, args, console).await,
        Command::Check(args) => commands::check(global, *args, console).await,
        #[cfg(feature = "local")]
        Command::Emulator(args) => commands::emulator(global, args).await,
        #[cfg(feature = "local")]
        Command::Demo(args) => commands::demo(global, args, console).await,
    };
    match result {
        Ok(code) => code,
        Err(Failure::Usage(message)) => {
            output::failure(&message);
            output::note(
                "`azure-nixos --help` and `azure-nixos COMMAND --help` say what may be passed",
            );
            USAGE
        }
        Err(Failure::Library(error)) => {
            output::failure(&error.report());
            if error.is_cancelled() {
                CANCELLED
            } else {
                FAILED
            }
        }
        Err(Failure::Other(message)) => {
            output::failure(&message);
            FAILED
        }
    }
}

/// Follows an operation to its end. Ctrl-C meanwhile is [`Interrupts`]' business.
pub(crate) async fn follow<T: Send + 'static>(
    mut handle: Handle<T>,
    console: &Console,
) -> Result<T, Error> {
    console.interrupts.watch(handle.cancellation_token());
    let mut view = console.view();
    while let Some(progress) = handle.progress().changed().await {
        view.show(&progress);
    }
    view.finish();
    let result = handle.join().await;
    console.interrupts.unwatch();
    result
}

/// What Ctrl-C does. The first one cancels the operation that runs, which takes away what it made;
/// the second, and one while no operation runs, ends the program at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    listening: bool,
    running: Option<CancelHandle>,
}

impl Interrupts {
    fn watch(&self, operation: CancelHandle) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.running = Some(operation);
        if !watched.listening {
            watched.listening = true;
            let own = self.clone();
            tokio::spawn(async move {
                loop {
                    interrupted().await;
                    own.interrupt();
                }
            });
        }
    }

    fn unwatch(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.running = None;
    }

    fn interrupt(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.running.take() {
            Some(operation) => {
                output::note("cancelling; what was made is taken away (Ctrl-C again ends at once)");
                operation.cancel();
            }
            None => {
                output::note("ended at once; something may be left behind");
                std::process::exit(i32::from(CANCELLED));
            }
        }
    }
}

/// Ctrl-C, or a polite request to end.
pub(crate) async fn interrupted() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = tokio::signal::ctrl_c() => {
            if result.is_err() {
                std::future::pending::<()>().await;
            }
        }
        () = terminate => {}
    }
}
