//! From an image to a machine that can be logged into, and what is done with machines afterwards.
//!
//! Here live the order in which a machine's parts are made and what is taken away when one fails;
//! finding machines, starting and stopping them, and deleting them with what was made for them.
//! The requests themselves are those of [`arm`](crate::arm).

mod addresses;
mod builder;
mod change;
mod delete;
mod image;
mod info;
mod keys;
mod machines;
mod network;
mod patience;
mod serial_log;
mod user;

pub use builder::{BootedVm, DEFAULT_OS_DISK_GB, DEFAULT_SIZE, VmBuilder};
pub use change::{ChangedMachine, MachineChange};
pub use delete::{DeletePlan, DeletedMachine, MachineDelete, Stays, Thing};
pub use image::ImageReference;
pub use info::{MachineDisk, MachineInfo, PowerState};
pub use keys::SshKey;
pub use machines::{Machine, Machines};
pub use serial_log::{SerialLog, SerialLogBuilder, SerialPart};
