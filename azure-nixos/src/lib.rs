//! From a NixOS configuration, or any disk image, to a running Azure virtual machine.
//!
//! ```no_run
//! use azure_nixos::image::ImageSource;
//! use azure_nixos::vm::SshKey;
//! use azure_nixos::{Azure, ImageBuilder, VmBuilder};
//!
//! #[tokio::main]
//! async fn main() -> azure_nixos::Result<()> {
//!     // A service principal in the environment, a federated token, a managed identity, `az login`.
//!     let azure = Azure::from_environment().await?;
//!
//!     // Await a builder for the simple path …
//!     let image = ImageBuilder::new(&azure, "images-rg", "nixos-web")
//!         .location("westus2")
//!         .source(ImageSource::flake(".#web"))
//!         .await?;
//!
//!     // … or start it, to follow it and to be able to stop it.
//!     let mut vm = VmBuilder::new(&azure, "vms-rg", "web-1", &image)
//!         .size("Standard_D2s_v5")
//!         .ssh_key(SshKey::file("~/.ssh/id_ed25519.pub"))
//!         .start();
//!     while let Some(progress) = vm.progress().changed().await {
//!         println!("{} {}", progress.phase.as_str(), progress.detail);
//!     }
//!     match vm.join().await {
//!         Ok(vm) => println!("{}", vm.ssh_command.unwrap_or_default()),
//!         // The causes, what became of what was made, and what to do about it.
//!         Err(error) => println!("{}", error.report()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What is where
//!
//! | to | use |
//! |---|---|
//! | log in and choose a subscription and a cloud | [`Azure`], [`azure`] |
//! | make an image from Nix or from a file | [`ImageBuilder`], [`image::ImageSource`] |
//! | make a managed disk from a disk image | [`image::DiskUpload`] |
//! | make a machine from an image | [`VmBuilder`], [`vm::ImageReference`], [`vm::SshKey`] |
//! | find, start, stop, resize and delete machines, read their serial logs | [`vm::Machines`], [`vm::Machine`] |
//! | let ssh, `nixos-rebuild`, Colmena, deploy-rs or NixOps find the machines | [`vm::Machines::inventory`], [`vm::InventoryFormat`] |
//! | write a disk to an access URL | [`VhdUploader`], [`SasUrl`], [`upload::SasSource`] |
//! | look into a disk image before anything is sent | [`disk::inspect`], [`disk::DiskImage`] |
//! | upload from a format that is not known here | [`disk::DiskSource`] |
//! | see beforehand whether all of that would work | [`check::Checkup`], [`nix::Nix::host`] |
//! | find and build the image of a configuration | [`nix::Nix`], [`nix::Installable`] |
//! | send single requests to Resource Manager | [`arm::Client`] |
//!
//! `image` and `vm` know the order of the steps and what is undone when one fails; `check` knows
//! what they need. They use `nix`,
//! `disk`, `upload` and `arm`, which do not know each other, and those stand on [`azure`].
//!
//! # What holds everywhere
//!
//! - **One error.** [`Error`] has a [kind](Error::kind) for programs and a [hint](Error::hint) for
//!   people. None contains an access signature or a token, and no log line does.
//! - **One handle.** What takes long is a builder that can be awaited, or started for a [`Handle`]
//!   with [progress](Handle::progress), [cancel](Handle::cancel) and [join](Handle::join). Both
//!   need a tokio runtime with its time and I/O drivers enabled.
//! - **Nothing is left behind.** What a failed or cancelled operation has made is taken away again
//!   or named in the error. What was there before is neither replaced nor deleted, but for a disk
//!   with the tag of this very content whose upload was not finished: that one is gone on with.
//! - **Nothing blocks.** Files are read, hashed and compared on threads for blocking work.
//!
//! Events go to the `tracing` crate.

pub mod arm;
pub mod azure;
mod backoff;
mod blocking;
pub mod check;
pub mod disk;
mod error;
mod generation;
mod group;
mod handle;
pub mod image;
pub mod nix;
pub mod progress;
pub mod quote;
mod sas;
mod size;
mod undo;
pub mod upload;
pub mod vm;

pub use azure::Azure;
pub use check::Checkup;
pub use error::{Error, ErrorKind, Result};
pub use generation::Generation;
pub use handle::{CancelHandle, Handle};
pub use image::ImageBuilder;
pub use sas::SasUrl;
pub use size::ByteSize;
pub use upload::VhdUploader;
pub use vm::VmBuilder;

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
