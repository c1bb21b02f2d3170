//! The command line of azure-nixos: it parses, calls the library, and prints.
//!
//! Messages and progress go to standard error; standard output carries the bare result.

mod args;
mod boot_opts;
mod commands;
mod connect;
mod interrupt;
mod nix_opts;
mod output;
mod progress;
mod run;
mod terminal;
mod transfer;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = args::Cli::parse();
    let console = progress::Console::new(args.global.progress);
    output::start_log(args.global.verbose, &console);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            output::failure(&format!("cannot start: {error}"));
            return ExitCode::from(run::FAILED);
        }
    };
    let code = runtime.block_on(run::run(args, &console));
    // What is left is at most a reader that waits for a key; it must not hold the exit up.
    runtime.shutdown_background();
    ExitCode::from(code)
}
