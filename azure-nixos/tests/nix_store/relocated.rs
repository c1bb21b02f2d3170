//! A real Nix that keeps all it writes in one directory, offline: store, state, settings and home.
//!
//! It knows nothing but the standard library, so that the tests of the command line share it too.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program of tests uses its part"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What builds the fixtures without root, network and other users.
pub const SETTINGS: &str = "sandbox = false\nbuild-users-group =\nsubstituters =\nmax-jobs = 1\n";

pub struct Relocated {
    directory: PathBuf,
}

impl Relocated {
    /// In a directory that exists, set up by this text of nix.conf.
    pub fn new(directory: &Path, settings: &str) -> Self {
        for name in ["store", "conf", "home", "work"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        fs::write(directory.join("conf/nix.conf"), settings).unwrap();
        Self {
            directory: directory.to_owned(),
        }
    }

    /// With a copy of the fixtures to work on.
    pub fn with_fixtures(directory: &Path) -> Self {
        let nix = Self::new(directory, SETTINGS);
        copy(&fixtures(), &nix.work());
        let flake = nix.file("flake");
        fs::copy(nix.file("image.nix"), flake.join("image.nix")).unwrap();
        // Flakes cannot ask for the current system.
        for name in ["flake.nix", "image.nix"] {
            let text = fs::read_to_string(flake.join(name)).unwrap();
            let system = format!("{}-linux", std::env::consts::ARCH);
            fs::write(flake.join(name), text.replace("x86_64-linux", &system)).unwrap();
        }
        nix
    }

    /// Where commands are started, and the fixtures are.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    /// What keeps Nix in the directory, whatever the environment of the tests says.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let at = |name: &str| self.directory.join(name);
        vec![
            ("NIX_STORE_DIR", at("store")),
            ("NIX_STATE_DIR", at("var/nix")),
            ("NIX_LOCALSTATE_DIR", at("var")),
            ("NIX_LOG_DIR", at("log")),
            ("NIX_CONF_DIR", at("conf")),
            ("HOME", at("home")),
            ("XDG_CACHE_HOME", at("home/.cache")),
            ("XDG_CONFIG_HOME", at("home/.config")),
            ("XDG_DATA_HOME", at("home/.local/share")),
            ("XDG_STATE_HOME", at("home/.local/state")),
            ("NIX_PATH", PathBuf::new()),
            ("NIX_REMOTE", PathBuf::new()),
            ("NIX_CONFIG", PathBuf::new()),
            ("GIT_CONFIG_GLOBAL", PathBuf::from("/dev/null")),
        ]
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment()).current_dir(self.work());
        command
    }

    /// What nothing holds goes.
    pub fn collect(&self) {
        let output = self.command("nix-store").arg("--gc").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Relocated {
    /// Store paths are read-only, directories too: whoever is not root must change that before the directory
    /// can be taken away.
    fn drop(&mut self) {
        fn writable(directory: &Path) {
            let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    writable(&entry.path());
                }
            }
        }
        writable(&self.directory.join("store"));
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/nix")
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
