//! A local Azure: Resource Manager over https and the page blobs of managed disks over http and
//! https, on loopback, with the state in a directory.
//!
//! It is strict where Azure is strict: wrong api-versions, unknown fields, bad names, a disk in
//! the wrong state, a missing token each get Azure's own status and error code. It shares no code
//! with the `azure-nixos` library, because a double that shares its client's types shares its
//! mistakes, and it answers any other client (`az`, the SDKs) as well.
//!
//! ```no_run
//! # async fn example() -> Result<(), azure_nixos_emulator::EmulatorError> {
//! use azure_nixos_emulator::Emulator;
//!
//! let azure = Emulator::builder().state_dir("/tmp/local-azure").start().await?;
//! println!("Resource Manager is at {}, trust {}", azure.arm_url(), azure.ca_path().display());
//! azure.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What lives where: [`Emulator`] is the running thing and [`EmulatorBuilder`] its settings. `arm`
//! is Resource Manager, one file per resource type; `blob` the data plane; `login` what Entra does;
//! `control` what the tests of other programs do to it; `server`, `tls`, `proxy`, `lock` and `state`
//! carry them, and `azure_names` has the host names.

mod arm;
mod azure_names;
mod blob;
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
mod state;
mod tls;
mod vhd;

pub use arm::pace::Timing;
pub use blob::SasShape;
pub use builder::EmulatorBuilder;
pub use clock::Clock;
pub use emulator::{Emulator, RecordedRequest};
pub use error::EmulatorError;
pub use fault::Faults;
pub use operation::{Operation, UnknownOperation};
pub use running::Running;
