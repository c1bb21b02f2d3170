//! The way from an installable to a file: evaluate, build, look into the output.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::command::{self, Asked, Command};
use super::event::{MessageLevel, NixEvent};
use super::failure;
use super::flake::{Flake, Target};
use super::installable::{Installable, Source, store_object};
use super::output::{self, Search};
use super::process::{self, Finished, NOT_INSTALLED};
use super::quote;
use super::root::OutLink;
use super::{BuiltImage, Nix};
use crate::blocking::blocking;
use crate::{Error, ErrorKind, Result};

pub(super) async fn build(
    nix: &Nix,
    what: &Installable,
    events: &(dyn Fn(NixEvent) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<BuiltImage> {
    what.check()?;
    let base = process::base(nix.launcher.directory.as_deref())?;
    let run = Run {
        nix,
        what,
        events,
        cancel,
    };
    match &what.source {
        Source::File(path) => {
            // Without the `./` that people type.
            let file: PathBuf = base.join(path).components().collect();
            let checked = blocking(move || check_file(&file).map(|()| file)).await?;
            run.expression(Some(&checked), &base).await
        }
        Source::Lookup(_) | Source::Expression(_) => run.expression(None, &base).await,
        Source::Flake(reference) => {
            let (reference, directory) = (reference.clone(), base.clone());
            let flake = blocking(move || Flake::parse(&reference, &directory)).await?;
            run.flake(&flake, &base).await
        }
        Source::StorePath(path) => run.store_path(&base.join(path), &base).await,
    }
}

struct Run<'a> {
    nix: &'a Nix,
    what: &'a Installable,
    events: &'a (dyn Fn(NixEvent) + Send + Sync),
    cancel: &'a CancellationToken,
}

/// What `hosts.nix` answers.
#[derive(Debug, Deserialize)]
struct HostAnswer {
    kind: String,
    names: Vec<String>,
}

/// An entry of what `nix build --json` answers.
#[derive(Debug, Deserialize)]
struct BuildAnswer {
    #[serde(default)]
    outputs: std::collections::BTreeMap<String, Option<PathBuf>>,
}

impl Run<'_> {
    async fn expression(&self, file: Option<&Path>, base: &Path) -> Result<BuiltImage> {
        let expression = command::expression(self.what, file, Asked::Image)?;
        let link = self.link(base).await?;
        self.evaluating(&self.what.to_string());
        let options = &self.nix.options;
        let build = command::build_expression(&expression, self.what, options, link.path());
        let finished = self.succeed(&build, &self.what.to_string()).await?;
        let outputs = finished.lines().into_iter().map(PathBuf::from).collect();
        let expression = command::expression(self.what, file, Asked::FileName)?;
        let ask = command::expression_file_name(&expression, self.what, options);
        self.locate(outputs, link, Some(ask)).await
    }

    async fn flake(&self, flake: &Flake, base: &Path) -> Result<BuiltImage> {
        let name = self.what.to_string();
        self.evaluating(&name);
        let (attribute, tried) = match &flake.target {
            Target::Default => (String::new(), None),
            Target::Attribute(attribute) => (attribute.clone(), None),
            Target::Host(host) => match self.host(flake, host).await? {
                Host::Image(attribute) => (attribute, None),
                Host::Unknown(hosts) => return Err(no_host(&name, host, &hosts)),
            },
            Target::Name { host, attribute } => match self.host(flake, host).await? {
                Host::Image(attribute) => (attribute, None),
                Host::Unknown(hosts) => (attribute.clone(), Some((host, hosts))),
            },
        };
        let link = self.link(base).await?;
        let options = &self.nix.options;
        let build = command::build_flake(flake, &attribute, options, link.path());
        let finished = self.run(&build).await?;
        if !finished.status.success() {
            let error = failure::explain(&name, build.program, &finished);
            if !lacks_attribute(&finished) {
                return Err(error);
            }
            return Err(match tried {
                Some((host, hosts)) => no_attribute(&name, host, &attribute, &hosts),
                None => not_provided(&name, &attribute, &finished),
            });
        }
        let answers: Vec<BuildAnswer> = answer(&finished, "nix build")?;
        let outputs = answers
            .into_iter()
            .flat_map(|answer| answer.outputs.into_values())
            .flatten()
            .collect();
        let ask =
            (!attribute.is_empty()).then(|| command::flake_file_name(flake, &attribute, options));
        self.locate(outputs, link, ask).await
    }

    async fn host(&self, flake: &Flake, host: &str) -> Result<Host> {
        let finished = self
            .run(&command::probe_host(flake, host, &self.nix.options))
            .await?;
        if !finished.status.success() {
            if lacks_attribute(&finished) {
                return Ok(Host::Unknown(Vec::new()));
            }
            let name = self.what.to_string();
            return Err(failure::explain(&name, command::Program::Nix, &finished));
        }
        let answer: HostAnswer = answer(&finished, "nix eval")?;
        let system = ["nixosConfigurations".to_owned(), host.to_owned()];
        match answer.kind.as_str() {
            "image" => {
                let middle = ["config", "system", "build"].map(str::to_owned);
                let path = [&system[..], &middle[..], &answer.names[..]].concat();
                Ok(Host::Image(quote::attribute_path(&path)?))
            }
            "unknown" => Ok(Host::Unknown(answer.names)),
            _ => {
                let system = quote::attribute_path(&system)?;
                Err(failure::no_image(&system, &answer.names))
            }
        }
    }

    async fn store_path(&self, path: &Path, base: &Path) -> Result<BuiltImage> {
        let typed = path.to_owned();
        // `./result` is a link into the store.
        let (path, there) = blocking(move || {
            let resolved = match store_object(&typed) {
                Some(_) => typed,
                None => typed.canonicalize().unwrap_or(typed),
            };
            let there = resolved.symlink_metadata().is_ok();
            Ok((resolved, there))
        })
        .await?;
        let Some(object) = store_object(&path) else {
            let error = if there {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("{} is not in a Nix store", path.display()),
                )
            } else {
                Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "there is no {}, and it is not the name of a store path",
                        path.display()
                    ),
                )
            };
            return Err(error.with_hint("a store path looks like /nix/store/HASH-NAME; a disk image that is elsewhere is given as a file"));
        };
        let link = self.link(base).await?;
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
                return self.found(path.clone(), object, None).await;
            }
            Err(error) => return Err(error),
        };
        if !finished.status.success() {
            let error = failure::explain(&self.what.to_string(), command.program, &finished);
            return Err(
                if object.extension().is_some_and(|end| end == "drv") && there {
                    error
                } else {
                    not_in_store(&object, there).with_source(error)
                },
            );
        }
        if path != object || object.extension().is_none_or(|end| end != "drv") {
            return self.found(path, object, Some(link)).await;
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
        self.locate(outputs, link, None).await
    }

    /// The image at `path`, which is in the store object or is it.
    async fn found(
        &self,
        path: PathBuf,
        object: PathBuf,
        root: Option<OutLink>,
    ) -> Result<BuiltImage> {
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
            return Err(Error::new(
                ErrorKind::Build,
                format!(
                    "nix built nothing for {}, though it reports success",
                    self.what
                ),
            )
            .with_hint("it is not a derivation: name the attribute of the image"));
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
        Ok(BuiltImage {
            store_path: output.clone(),
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

    async fn run(&self, command: &Command) -> Result<Finished> {
        let launcher = &self.nix.launcher;
        launcher.run(command, self.events, self.cancel).await
    }

    async fn succeed(&self, command: &Command, name: &str) -> Result<Finished> {
        let finished = self.run(command).await?;
        if finished.status.success() {
            return Ok(finished);
        }
        Err(failure::explain(name, command.program, &finished))
    }

    async fn link(&self, base: &Path) -> Result<OutLink> {
        let wanted = self.nix.out_link.clone();
        let base = base.to_owned();
        blocking(move || OutLink::prepare(wanted.as_deref(), &base)).await
    }

    fn evaluating(&self, what: &str) {
        (self.events)(NixEvent::Evaluating {
            what: what.to_owned(),
        });
    }
}

enum Host {
    /// The attribute of the image.
    Image(String),
    /// There is no such host; these there are.
    Unknown(Vec<String>),
}

fn answer<T: DeserializeOwned>(finished: &Finished, program: &str) -> Result<T> {
    serde_json::from_slice(&finished.stdout).map_err(|error| {
        Error::new(
            ErrorKind::Build,
            format!("the answer of {program} is not the JSON that is expected of it"),
        )
        .with_source(error)
    })
}

fn lacks_attribute(finished: &Finished) -> bool {
    finished
        .parser
        .complaints
        .iter()
        .any(|complaint| complaint.message.contains("does not provide attribute"))
}

fn hosts_hint(hosts: &[String]) -> String {
    if hosts.is_empty() {
        "the flake has no nixosConfigurations".to_owned()
    } else {
        format!("its hosts are {}", hosts.join(", "))
    }
}

fn no_host(flake: &str, host: &str, hosts: &[String]) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("{flake}: there is no host {host}"),
    )
    .with_hint(hosts_hint(hosts))
}

fn no_attribute(flake: &str, host: &str, attribute: &str, hosts: &[String]) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "{flake} names nothing in the flake: there is no nixosConfigurations.{host}, packages.SYSTEM.{attribute}, legacyPackages.SYSTEM.{attribute} or {attribute}"
        ),
    )
    .with_hint(hosts_hint(hosts))
}

fn not_provided(flake: &str, attribute: &str, finished: &Finished) -> Error {
    let said = finished
        .parser
        .complaints
        .iter()
        .find_map(|complaint| complaint.message.split_once("does not provide attribute "))
        .map_or(attribute, |(_, names)| {
            names.lines().next().unwrap_or(names)
        });
    let error = Error::new(
        ErrorKind::NotFound,
        format!("{flake}: the flake has no attribute {said}"),
    );
    if attribute.is_empty() {
        error.with_hint("name a host or a package: .#web")
    } else {
        error.with_hint("nix flake show lists what there is")
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

/// What can be said about a file before Nix is started.
fn check_file(path: &Path) -> Result<()> {
    let data = std::fs::metadata(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Error::new(
                ErrorKind::NotFound,
                format!("there is no file {}", path.display()),
            );
        }
        Error::io("look at", path, error)
    })?;
    if data.is_dir() {
        if path.join("default.nix").exists() {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no default.nix in the directory {}",
                path.display()
            ),
        );
        return Err(if path.join("flake.nix").exists() {
            error.with_hint("it is a flake: give it as a flake, with the name of a host (.#web)")
        } else {
            error
        });
    }
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 4096), &mut start)
    });
    read.map_err(|error| Error::io("read", path, error))?;
    if start.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the file {} is empty", path.display()),
        ));
    }
    if start.contains(&0) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{} is a binary file and no Nix expression", path.display()),
        )
        .with_hint("a finished disk image is given as an image file"));
    }
    Ok(())
}
