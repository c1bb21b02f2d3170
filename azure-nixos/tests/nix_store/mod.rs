//! The library on a real Nix of the test's own. For the tests in the files beside this directory.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each file of tests is a program of its own and uses its part"
)]

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;

use azure_nixos::nix::{BuiltImage, Installable, Nix};
use azure_nixos::{Error, Result};
use tempfile::TempDir;

pub use relocated::{Relocated, copy, fixtures};

mod relocated;

/// A Nix with the fixtures, in a temporary directory.
pub struct Store {
    // Before the directory: what is in it must be made writable first.
    nix: Relocated,
    pub root: TempDir,
}

/// Whether there is a Nix. Without one the test says aloud that it skips.
pub fn have_nix() -> bool {
    let there = Command::new("nix-build").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: nix is not installed, so this test shows nothing");
    }
    there
}

/// The store, or nothing when there is no Nix.
pub fn store() -> Option<Store> {
    have_nix().then(|| {
        let root = tempfile::tempdir().unwrap();
        Store {
            nix: Relocated::with_fixtures(root.path()),
            root,
        }
    })
}

impl Deref for Store {
    type Target = Relocated;

    fn deref(&self) -> &Relocated {
        &self.nix
    }
}

impl Relocated {
    /// Nix as the library runs it, started in the directory of the fixtures.
    pub fn nix(&self) -> Nix {
        let nix = Nix::new().current_dir(self.work());
        self.environment()
            .into_iter()
            .fold(nix, |nix, (name, value)| nix.env(name, value))
    }
}

impl Store {
    pub async fn build(&self, what: Installable) -> Result<BuiltImage> {
        self.nix().start(what, |_| {}).join().await
    }

    pub async fn file_image(&self, name: &str) -> Result<BuiltImage> {
        self.build(Installable::file(name)).await
    }

    pub async fn error(&self, what: Installable) -> Error {
        let error = self.build(what).await.unwrap_err();
        eprintln!("{}\n", error.report());
        error
    }

    /// Takes a built image away again.
    pub fn delete(&self, path: &Path, image: BuiltImage) {
        drop(image);
        let mut command = self.command("nix-store");
        let output = command.arg("--delete").arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    pub fn git(&self, directory: &str, arguments: &[&str]) {
        let status = self
            .command("git")
            .arg("-C")
            .arg(self.file(directory))
            .args(["-c", "user.name=t", "-c", "user.email=t@localhost"])
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

/// The label that the fixture wrote at the beginning of its image.
pub fn label(image: &BuiltImage) -> String {
    let bytes = fs::read(&image.image).unwrap();
    let end = bytes.iter().position(|&byte| byte == 0);
    String::from_utf8(bytes[..end.unwrap_or(bytes.len())].to_vec())
        .unwrap()
        .trim()
        .to_owned()
}

/// The store, or the end of a test that has none.
#[macro_export]
macro_rules! store_or_skip {
    () => {
        match nix_store::store() {
            Some(store) => store,
            None => return,
        }
    };
}
