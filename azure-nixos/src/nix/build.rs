//! The way from what was evaluated to a file: build, and look into the output.

use std::path::{Path, PathBuf};

use super::BuiltImage;
use super::command::{self, Command};
use super::evaluate::BuildAnswer;
use super::evaluation::{Evaluation, Step};
use super::event::{MessageLevel, NixEvent};
use super::flake::Flake;
use super::installable::Installable;
use super::output::{self, Search};
use super::process::NOT_INSTALLED;
use super::root::OutLink;
use super::run::{Run, answer};
use crate::blocking::blocking;
use crate::{Error, ErrorKind, Result};

impl Run<'_> {
    /// Builds what was evaluated.
    pub(super) async fn realise(&self, evaluation: Evaluation) -> Result<BuiltImage> {
        self.preflight(&evaluation).await?;
        match evaluation.step {
            Step::Derivation { target, root, ask } => {
                let gone = evaluation.derivation.filter(|_| root.is_none());
                let built = self.derivation(&target, ask, gone).await;
                // It has held the derivation until now.
                let _ = blocking(move || {
                    drop(root);
                    Ok(())
                })
                .await;
                built
            }
            Step::Flake { flake, attribute } => self.flake(&flake, &attribute).await,
            Step::StorePath {
                path,
                object,
                there,
            } => self.store_path(path, object, there).await,
        }
    }

    /// `named` is the derivation where it is what the user named: it need not be there.
    async fn derivation(
        &self,
        target: &Path,
        ask: Option<Command>,
        named: Option<PathBuf>,
    ) -> Result<BuiltImage> {
        let link = self.link(self.nix.out_link.clone()).await?;
        let command = command::realise(target, &self.nix.options, link.path());
        let finished = self.run(&command).await?;
        if !finished.status.success() {
            let error = self.explain(&command, &finished);
            return Err(match named {
                Some(path) if !path.exists() => not_in_store(&path, false).with_source(error),
                _ => error,
            });
        }
        // `nix-store` answers with the links it has made.
        let links = finished.lines();
        let outputs = blocking(move || {
            let resolve = |line: &String| Path::new(line).canonicalize();
            links
                .iter()
                .map(|line| resolve(line).map_err(|e| Error::io("read", Path::new(line), e)))
                .collect()
        })
        .await?;
        self.locate(outputs, link, ask).await
    }

    async fn flake(&self, flake: &Flake, attribute: &str) -> Result<BuiltImage> {
        let link = self.link(self.nix.out_link.clone()).await?;
        let options = &self.nix.options;
        let command = command::build_flake(flake, attribute, options, link.path());
        let finished = self.succeed(&command).await?;
        let answers: Vec<BuildAnswer> = answer(&finished, "nix build")?;
        let outputs = answers
            .into_iter()
            .flat_map(|answer| answer.outputs.into_values())
            .flatten()
            .collect();
        let ask =
            (!attribute.is_empty()).then(|| command::flake_file_name(flake, attribute, options));
        self.locate(outputs, link, ask).await
    }

    async fn store_path(&self, path: PathBuf, object: PathBuf, there: bool) -> Result<BuiltImage> {
        let link = self.link(self.nix.out_link.clone()).await?;
        let command = command::realise(&object, &self.nix.options, link.path());
        let finished = match self.run(&command).await {
            Ok(finished) => finished,
            Err(error) if error.code() == Some(NOT_INSTALLED) && there => {
                let text = format!(
                    "nix is not installed: {} is used as it is, and nothing keeps it from being removed",
                    object.display()
                );
                tracing::warn!("{text}");
                (self.events)(NixEvent::Message {
                    level: MessageLevel::Warning,
                    text,
                });
                return found(path, object, None).await;
            }
            Err(error) => return Err(error),
        };
        if !finished.status.success() {
            let error = self.explain(&command, &finished);
            return Err(not_in_store(&object, there).with_source(error));
        }
        found(path, object, Some(link)).await
    }

    /// The image in the outputs of a build. `ask` is run only when its name is not evident: it
    /// evaluates everything once more.
    async fn locate(
        &self,
        mut outputs: Vec<PathBuf>,
        link: OutLink,
        ask: Option<Command>,
    ) -> Result<BuiltImage> {
        outputs.sort();
        outputs.dedup();
        if outputs.is_empty() {
            return Err(self.nothing());
        }
        let (outputs, searches) = blocking(move || {
            let searches: Vec<_> = outputs
                .iter()
                .map(|path| output::find_image(path))
                .collect();
            Ok((outputs, searches))
        })
        .await?;
        let many = outputs.len() > 1;
        let mut with_image: Vec<_> = outputs
            .iter()
            .zip(searches)
            .filter(|(_, search)| !many || search.is_ok())
            .collect();
        let (Some((output, search)), true) = (with_image.pop(), with_image.is_empty()) else {
            return Err(outputs_error(self.what, &outputs));
        };
        let image = match search? {
            Search::Found(image) => image,
            Search::Several(images) => match self.ask(ask, output).await? {
                Some(image) => image,
                None => return Err(output::several(output, &images)),
            },
        };
        let output = output.clone();
        let (output, link) = blocking(move || {
            let mut link = link;
            link.lead_to(&output);
            Ok((output, link))
        })
        .await?;
        Ok(BuiltImage {
            store_path: output,
            image,
            root: Some(link),
        })
    }

    /// The name of the image as its derivation gives it. That it gives none is no failure: there is
    /// an error that lists the candidates already.
    async fn ask(&self, command: Option<Command>, output: &Path) -> Result<Option<PathBuf>> {
        let Some(command) = command else {
            return Ok(None);
        };
        let finished = self.run(&command).await?;
        if !finished.status.success() {
            return Ok(None);
        }
        let name: Option<String> = answer(&finished, command.program.name()).unwrap_or_default();
        let Some(name) = name else { return Ok(None) };
        let output = output.to_owned();
        blocking(move || Ok(output::offered(&output, &name))).await
    }
}

/// The image at `path`, which is in the store object or is it.
async fn found(path: PathBuf, object: PathBuf, root: Option<OutLink>) -> Result<BuiltImage> {
    let (path, search) =
        blocking(move || output::find_image(&path).map(|search| (path, search))).await?;
    match search {
        Search::Found(image) => Ok(BuiltImage {
            store_path: object,
            image,
            root,
        }),
        Search::Several(images) => Err(output::several(&path, &images)),
    }
}

fn not_in_store(object: &Path, there: bool) -> Error {
    if there {
        return Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{} exists, but nix does not know it as a store path",
                object.display()
            ),
        )
        .with_hint("a disk image that is merely a file is given as a file");
    }
    Error::new(
        ErrorKind::NotFound,
        format!(
            "the store path {} does not exist, and no cache has it",
            object.display()
        ),
    )
    .with_hint("the garbage collector may have taken it: build it again")
}

fn outputs_error(what: &Installable, outputs: &[PathBuf]) -> Error {
    let list: Vec<_> = outputs
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Error::new(
        ErrorKind::Ambiguous,
        format!(
            "{what} gives {} outputs, and not just one of them holds a disk image: {}",
            outputs.len(),
            list.join(", ")
        ),
    )
    .with_hint("name the one that is meant: by its attribute, or by its store path")
}
