//! From an image to a machine that can be logged into, and what is done with machines afterwards.
//!
//! Here live the order in which a machine's parts are made and what is taken away when one fails;
//! finding machines, starting and stopping them, and deleting them with what was made for them.
//! The requests themselves are those of [`arm`](crate::arm).
//!
//! A machine comes about in three steps, each in its file: what was asked for is checked (`spec`),
//! which gives a plan of everything down to the last name (`plan`), and that is carried out (`make`).

mod addresses;
mod booted;
mod builder;
mod change;
mod delete;
mod explain;
mod find;
mod fit;
mod identity;
mod image;
mod info;
mod inventory;
mod keys;
mod login;
mod machine;
mod machines;
mod make;
mod network;
mod origin;
mod owner;
mod patience;
mod plan;
mod provisioning;
mod ready;
mod scale_set;
mod serial_log;
mod sizes;
mod spec;
mod ssh;
mod user;

pub use booted::{BootedFleet, BootedVm};
pub use builder::{FleetBuilder, VmBuilder};
pub use change::{ChangedMachine, MachineChange};
pub use delete::{DeletePlan, DeletedMachine, MachineDelete, Stays, Thing};
pub use identity::Identity;
pub use image::ImageReference;
pub use info::{MachineDisk, MachineInfo, PowerState};
pub use inventory::{
    Inventory, InventoryBuilder, InventoryFormat, InventoryMachine, InventoryText, LeftOut,
};
pub use keys::SshKey;
pub use login::{Login, LoginBuilder, LoginsBuilder};
pub use machine::{
    DEFAULT_OS_DISK_GB, DEFAULT_SIZE, EvictionPolicy, LARGEST_OS_DISK_GB, SecurityType, Spot,
};
pub use machines::{Machine, Machines};
pub use ready::Readiness;
pub use scale_set::{BootedSet, LARGEST_SCALE_SET, ScaleSetBuilder};
pub use serial_log::{SerialLog, SerialLogBuilder, SerialPart};
pub use spec::LARGEST_FLEET;
pub use ssh::{HostKeyTrust, SshCommand};
