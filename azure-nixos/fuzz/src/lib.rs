//! Disk images made up by a fuzzer, and what an upload would do with them.
//!
//! A target is a function of bytes. It makes an image of them ([`input`]), puts the checksums right
//! that would end the reading early ([`seal`]), and does with it what an upload does ([`upload`]):
//! looks, opens, lists, reads, with and without repair. It panics when something that always holds
//! does not. libFuzzer calls it through `targets/`; `azure-nixos/tests/fuzz_corpus.rs` includes
//! this file, and calls it with the kept inputs on a stable compiler.

pub mod input;
mod mutate;
mod seal;
mod stream;
mod targets;
mod upload;

pub use mutate::mutate;
pub use targets::{TARGETS, boot, partitions, qcow2, streams, vhd_dynamic, vhd_footer, vhdx};
