#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! It shares no code with the `azure-nixos` library, because a double that shares its client's types
//! shares its mistakes.
//!
//! What lives where: [`Emulator`] is the running thing and [`EmulatorBuilder`] its settings. `arm`
//! is Resource Manager, one file per resource type; `blob` the data plane; `login` what Entra does;
//! `control` what the tests of other programs do to it; `server`, `tls`, `proxy`, `lock` and `state`
//! carry them, `ssh_at` leads to servers that stand for machines, `ssh_server` starts one, and `azure_names` has the host names.

mod arm;
mod assumption;
mod azure_names;
mod blob;
mod boot;
mod builder;
mod clock;
mod control;
mod emulator;
mod error;
pub mod fault;
mod lock;
mod login;
mod operation;
mod proxy;
mod running;
mod server;
mod span;
mod ssh_at;
mod ssh_server;
mod state;
mod tls;
mod vhd;

pub use arm::pace::Timing;
pub use assumption::Assumption;
pub use blob::SasShape;
pub use boot::Boot;
pub use builder::EmulatorBuilder;
pub use clock::Clock;
pub use emulator::{Emulator, RecordedRequest};
pub use error::EmulatorError;
pub use fault::Faults;
pub use operation::{Operation, UnknownOperation};
pub use running::Running;
pub use ssh_server::SshServer;
