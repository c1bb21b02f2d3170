//! What something is going to be, before it is built.

use std::path::{Path, PathBuf};

use super::command::Command;
use super::derivation::Derivation;
use super::flake::Flake;
use super::installable::Installable;
use super::plan::BuildPlan;
use super::root::OutLink;

/// What Nix would build for an [`Installable`]: found by evaluating, without building anything.
///
/// The store path of the image names its content, so that whoever has it already need not build it.
#[derive(Debug)]
#[must_use = "nothing has been built yet"]
#[non_exhaustive]
pub struct Evaluation {
    /// The `.drv` file; `None` for a store path that is no derivation.
    pub derivation: Option<PathBuf>,
    /// The store paths of the outputs that will be built, as far as they are known: those of a
    /// derivation that is named by its content are not.
    pub outputs: Vec<PathBuf>,
    /// Which system builds it, `x86_64-linux`; `None` where it is not known.
    pub system: Option<String>,
    /// What the builder must be able to do, `kvm` for one.
    pub required_features: Vec<String>,
    /// The system that the machines are to be which the image is for, where its configuration says so
    /// (`hostPlatform`). That takes another evaluation, so it is only asked for where it may be another
    /// than `x86_64-linux`: where the image is not built by that.
    pub platform: Option<String>,
    pub(super) what: Installable,
    /// How many outputs there will be, known ones or not.
    pub(super) count: usize,
    pub(super) step: Step,
    /// What would have to be done, where the evaluation said it.
    pub(super) plan: Option<BuildPlan>,
}

/// How it is built.
#[derive(Debug)]
pub(super) enum Step {
    /// A derivation.
    Derivation {
        /// The `.drv` file, and after a `!` which outputs.
        target: PathBuf,
        /// Holds the derivation until it is built.
        root: Option<OutLink>,
        /// Asks for the name of the image.
        ask: Option<Command>,
    },
    /// An attribute of a flake. It is built as such and not by its derivation, since a flake may have
    /// settings of its own (`nixConfig`), caches among them.
    Flake { flake: Flake, attribute: String },
    /// Something in the store.
    StorePath {
        /// What was named: the object, or a file in it.
        path: PathBuf,
        object: PathBuf,
        /// Whether it is there.
        there: bool,
    },
}

impl Evaluation {
    /// The store path that holds the image, where it is known before it is built: there is one output,
    /// and its name does not depend on its content.
    #[must_use]
    pub fn store_path(&self) -> Option<&Path> {
        match self.outputs.as_slice() {
            [path] if self.count == 1 => Some(path),
            _ => None,
        }
    }

    pub(super) fn of_object(what: Installable, step: Step, object: PathBuf) -> Self {
        Self {
            derivation: None,
            outputs: vec![object],
            system: None,
            required_features: Vec::new(),
            platform: None,
            what,
            count: 1,
            step,
            plan: None,
        }
    }

    /// `outputs` are the names of those that will be built; `None` for all.
    pub(super) fn of_derivation(
        what: Installable,
        step: Step,
        path: PathBuf,
        known: Option<Derivation>,
        outputs: Option<&[String]>,
    ) -> Self {
        let (all, system, features) = match known {
            Some(known) => (known.outputs, Some(known.system), known.features),
            None => (Vec::new(), None, Vec::new()),
        };
        let built: Vec<_> = all
            .into_iter()
            .filter(|(name, _)| outputs.is_none_or(|names| names.contains(name)))
            .collect();
        Self {
            derivation: Some(path),
            count: built.len(),
            outputs: built.into_iter().filter_map(|(_, path)| path).collect(),
            system,
            required_features: features,
            platform: None,
            what,
            step,
            plan: None,
        }
    }
}
