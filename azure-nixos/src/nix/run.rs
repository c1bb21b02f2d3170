//! One installable on its way: what is asked for, how Nix is run, and who listens.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Nix;
use super::command::Command;
use super::event::NixEvent;
use super::failure;
use super::installable::Installable;
use super::process::{self, Finished};
use super::root::OutLink;
use crate::blocking::blocking;
use crate::{Error, ErrorKind, Result};

pub(super) struct Run<'a> {
    pub(super) nix: &'a Nix,
    pub(super) what: &'a Installable,
    /// What relative paths are relative to.
    pub(super) base: PathBuf,
    pub(super) events: &'a (dyn Fn(NixEvent) + Send + Sync),
    pub(super) cancel: &'a CancellationToken,
}

impl<'a> Run<'a> {
    /// # Errors
    /// When there is no current directory.
    pub(super) fn new(
        nix: &'a Nix,
        what: &'a Installable,
        events: &'a (dyn Fn(NixEvent) + Send + Sync),
        cancel: &'a CancellationToken,
    ) -> Result<Self> {
        Ok(Self {
            nix,
            what,
            base: process::base(nix.launcher.directory.as_deref())?,
            events,
            cancel,
        })
    }

    pub(super) async fn run(&self, command: &Command) -> Result<Finished> {
        let launcher = &self.nix.launcher;
        launcher.run(command, self.events, self.cancel).await
    }

    /// The same, and a status other than 0 is an error.
    pub(super) async fn succeed(&self, command: &Command) -> Result<Finished> {
        let finished = self.run(command).await?;
        if finished.status.success() {
            return Ok(finished);
        }
        Err(self.explain(command, &finished))
    }

    /// The error of a command that failed.
    pub(super) fn explain(&self, command: &Command, finished: &Finished) -> Error {
        failure::explain(&self.what.to_string(), command.program, finished)
    }

    /// A place for a link that keeps something from being collected as garbage: this one, or one that
    /// goes when it is dropped.
    pub(super) async fn link(&self, wanted: Option<PathBuf>) -> Result<OutLink> {
        let base = self.base.clone();
        blocking(move || OutLink::prepare(wanted.as_deref(), &base)).await
    }

    pub(super) fn evaluating(&self) {
        (self.events)(NixEvent::Evaluating {
            what: self.what.to_string(),
        });
    }

    pub(super) fn nothing(&self) -> Error {
        Error::new(
            ErrorKind::Build,
            format!(
                "nix built nothing for {}, though it reports success",
                self.what
            ),
        )
        .with_hint("it is not a derivation: name the attribute of the image")
    }
}

/// What a command answers as JSON.
pub(super) fn answer<T: DeserializeOwned>(finished: &Finished, program: &str) -> Result<T> {
    serde_json::from_slice(&finished.stdout).map_err(|error| {
        Error::new(
            ErrorKind::Build,
            format!("the answer of {program} is not the JSON that is expected of it"),
        )
        .with_source(error)
    })
}
