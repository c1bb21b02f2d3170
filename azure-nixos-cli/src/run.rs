//! From arguments to an exit status.

use azure_nixos::{Error, Handle};

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
        Command::Ssh(args) => commands::ssh(global, args).await,
        Command::ListVms(args) => commands::list_vms(global, &args).await,
        Command::Inventory(args) => commands::inventory(global, args).await,
        Command::ShowVm(args) => commands::show_vm(global, args.vm).await,
        Command::Start(args) => commands::start(global, args.vm, console).await,
        Command::Stop(args) => commands::stop(global, args, console).await,
        Command::Restart(args) => commands::restart(global, args.vm, console).await,
        Command::Resize(args) => commands::resize(global, args, console).await,
        Command::DeleteVm(args) => commands::delete_vm(global, args, console).await,
        Command::SerialLog(args) => commands::serial_log(global, args, console).await,
        Command::UploadVhd(args) => commands::upload_vhd(global, *args, console).await,
        Command::Inspect(args) => commands::inspect(global, args, console).await,
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

/// What is said when an operation is cancelled that makes things.
const UNDONE: &str = "cancelling; what was made is taken away (Ctrl-C again ends at once)";

/// The same of one that makes nothing.
pub(crate) const STOPPED: &str = "cancelling (Ctrl-C again ends at once)";

/// Follows an operation to its end. Ctrl-C meanwhile is the business of
/// [`Interrupts`](crate::interrupt::Interrupts).
pub(crate) async fn follow<T: Send + 'static>(
    handle: Handle<T>,
    console: &Console,
) -> Result<T, Error> {
    follow_saying(handle, console, UNDONE).await
}

/// The same, with words of its own for Ctrl-C.
pub(crate) async fn follow_saying<T: Send + 'static>(
    mut handle: Handle<T>,
    console: &Console,
    cancelling: &'static str,
) -> Result<T, Error> {
    console
        .interrupts
        .watch(handle.cancellation_token(), cancelling);
    let mut view = console.view();
    while let Some(progress) = handle.progress().changed().await {
        view.show(&progress);
    }
    view.finish();
    let result = handle.join().await;
    console.interrupts.unwatch();
    result
}
