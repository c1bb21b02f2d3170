//! The way from an installable to what would be built.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::command::{self, Asked};
use super::derivation::Derivation;
use super::evaluation::{Evaluation, Step};
use super::failure;
use super::flake::{Flake, Target};
use super::installable::{InstallableSource, store_object};
use super::plan::BuildPlan;
use super::process::Finished;
use super::quote;
use super::run::{Run, answer};
use crate::blocking::blocking;
use crate::{Error, ErrorKind, Result};

/// What most images are built by, and are for then. One for Arm64 can be cross-compiled there; that shows
/// when it is built.
const X64: &str = "x86_64-linux";

/// What `hosts.nix` answers.
#[derive(Debug, Deserialize)]
struct HostAnswer {
    kind: String,
    names: Vec<String>,
}

/// An entry of what `nix build --json` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuildAnswer {
    drv_path: Option<PathBuf>,
    #[serde(default)]
    pub(super) outputs: std::collections::BTreeMap<String, Option<PathBuf>>,
}

impl Run<'_> {
    /// Finds what would be built, and builds nothing.
    pub(super) async fn evaluate(&self) -> Result<Evaluation> {
        let mut evaluation = self.find().await?;
        if evaluation
            .system
            .as_deref()
            .is_some_and(|system| system != X64)
        {
            evaluation.platform = self.platform(&evaluation).await?;
        }
        Ok(evaluation)
    }

    /// For which system it is; `None` where nothing says so.
    async fn platform(&self, evaluation: &Evaluation) -> Result<Option<String>> {
        let options = &self.nix.options;
        let command = match (&evaluation.step, self.what.source()) {
            (Step::Flake { flake, attribute }, _) => {
                command::flake_platform(flake, attribute, options)
            }
            (
                Step::Derivation { .. },
                InstallableSource::File(_)
                | InstallableSource::Lookup(_)
                | InstallableSource::Expression(_),
            ) => {
                let file = self.file();
                let expression = command::expression(self.what, file.as_deref(), Asked::Platform)?;
                command::ask_expression(&expression, self.what, options)
            }
            _ => return Ok(None),
        };
        let finished = self.run(&command).await?;
        if !finished.status.success() {
            tracing::debug!("{} does not say which system it is for", self.what);
            return Ok(None);
        }
        Ok(answer(&finished, command.program.name()).unwrap_or_default())
    }

    /// The file that was named, without the `./` that people type.
    fn file(&self) -> Option<PathBuf> {
        match self.what.source() {
            InstallableSource::File(path) => Some(self.base.join(path).components().collect()),
            _ => None,
        }
    }

    async fn find(&self) -> Result<Evaluation> {
        self.what.check()?;
        // A store path is found without Nix, too.
        if !matches!(self.what.source(), InstallableSource::StorePath(_)) {
            self.refuse_old_nix().await?;
        }
        match self.what.source() {
            InstallableSource::File(_)
            | InstallableSource::Lookup(_)
            | InstallableSource::Expression(_) => {
                let file = self.file();
                if let Some(file) = file.clone() {
                    blocking(move || check_file(&file)).await?;
                }
                self.evaluate_expression(file.as_deref()).await
            }
            InstallableSource::Flake(reference) => {
                let (reference, base) = (reference.clone(), self.base.clone());
                let flake = blocking(move || Flake::parse(&reference, &base)).await?;
                self.evaluate_flake(flake).await
            }
            InstallableSource::StorePath(path) => self.look_into_store(self.base.join(path)).await,
        }
    }

    async fn evaluate_expression(&self, file: Option<&Path>) -> Result<Evaluation> {
        let expression = command::expression(self.what, file, Asked::Image)?;
        let root = self.link(None).await?;
        self.evaluating();
        let options = &self.nix.options;
        let command = command::instantiate(&expression, self.what, options, root.path());
        let finished = self.succeed(&command).await?;
        // The answer is the link, and a `!` and the name of the output unless that is `out`.
        let lines = finished.lines();
        let [line] = lines.as_slice() else {
            return Err(self.nothing());
        };
        let output = match line.rsplit_once('!') {
            Some((_, output)) => output.to_owned(),
            None => "out".to_owned(),
        };
        let link = root.path().to_owned();
        let (path, known) = blocking(move || {
            let path = std::fs::read_link(&link)
                .map_err(|error| Error::io("read the link that nix made,", &link, error))?;
            let known = Derivation::read(&path);
            Ok((path, known))
        })
        .await?;
        let mut target = path.clone().into_os_string();
        target.push(format!("!{output}"));
        let expression = command::expression(self.what, file, Asked::FileName)?;
        let step = Step::Derivation {
            target: target.into(),
            root: Some(root),
            ask: Some(command::ask_expression(&expression, self.what, options)),
        };
        let outputs = [output];
        Ok(Evaluation::of_derivation(
            self.what.clone(),
            step,
            path,
            known,
            Some(&outputs),
        ))
    }

    async fn evaluate_flake(&self, flake: Flake) -> Result<Evaluation> {
        self.evaluating();
        match flake.target.clone() {
            Target::Default => self.attribute(flake, String::new(), None).await,
            Target::Attribute(attribute) => self.attribute(flake, attribute, None).await,
            Target::Host(host) => match self.host(&flake, &host).await? {
                Host::Evaluated(evaluation) => Ok(*evaluation),
                Host::Unknown(hosts) => Err(no_host(&self.what.to_string(), &host, &hosts)),
            },
            Target::Name { host, attribute } => match self.host(&flake, &host).await? {
                Host::Evaluated(evaluation) => Ok(*evaluation),
                Host::Unknown(hosts) => self.attribute(flake, attribute, Some((host, hosts))).await,
            },
        }
    }

    /// An attribute of a flake. `tried` is the host that it was taken for, and those that there are.
    async fn attribute(
        &self,
        flake: Flake,
        attribute: String,
        tried: Option<(String, Vec<String>)>,
    ) -> Result<Evaluation> {
        let command = command::evaluate_flake(&flake, &attribute, &self.nix.options);
        let (finished, plan) = self.run_dry(&command).await?;
        if finished.status.success() {
            return self.evaluated(flake, attribute, &finished, plan).await;
        }
        if !lacks_attribute(&finished) {
            return Err(self.explain(&command, &finished));
        }
        let name = self.what.to_string();
        Err(match tried {
            Some((host, hosts)) => no_attribute(&name, &host, &attribute, &hosts),
            None => not_provided(&name, &attribute, &finished),
        })
    }

    /// What the dry run of a flake's attribute says.
    async fn evaluated(
        &self,
        flake: Flake,
        attribute: String,
        finished: &Finished,
        plan: BuildPlan,
    ) -> Result<Evaluation> {
        let mut answers: Vec<BuildAnswer> = answer(finished, "nix build")?;
        let step = Step::Flake { flake, attribute };
        let what = self.what.clone();
        let Some(first) = answers.pop().filter(|_| answers.is_empty()) else {
            return Err(self.nothing());
        };
        let names: Vec<String> = first.outputs.keys().cloned().collect();
        let Some(path) = first.drv_path else {
            // An attribute may be a path in the store; then that is what is "built".
            let object = first.outputs.into_values().flatten().next();
            let object = object.ok_or_else(|| self.nothing())?;
            return Ok(Evaluation::of_object(what, step, object));
        };
        let (path, known) = blocking(move || {
            let known = Derivation::read(&path);
            Ok((path, known))
        })
        .await?;
        let evaluation = Evaluation::of_derivation(what, step, path, known, Some(&names));
        Ok(Evaluation {
            plan: Some(plan),
            ..evaluation
        })
    }

    /// The image that a host of a flake offers.
    ///
    /// The name that newer configurations have is tried first, since an evaluation of a flake that has
    /// not changed comes from Nix's cache and the question for names does not.
    async fn host(&self, flake: &Flake, host: &str) -> Result<Host> {
        let newer = image_attribute(host, &["images", "azure"])?;
        let command = command::evaluate_flake(flake, &newer, &self.nix.options);
        let (tried, plan) = self.run_dry(&command).await?;
        if tried.status.success() {
            let evaluation = self.evaluated(flake.clone(), newer, &tried, plan).await?;
            return Ok(Host::Evaluated(Box::new(evaluation)));
        }
        let probe = command::probe_host(flake, host, &self.nix.options);
        let finished = self.run(&probe).await?;
        if !finished.status.success() {
            if lacks_attribute(&finished) {
                return Ok(Host::Unknown(Vec::new()));
            }
            return Err(self.explain(&probe, &finished));
        }
        let answer: HostAnswer = answer(&finished, "nix eval")?;
        match answer.kind.as_str() {
            "image" => {
                let names: Vec<_> = answer.names.iter().map(String::as_str).collect();
                let attribute = image_attribute(host, &names)?;
                if attribute == newer {
                    return Err(self.explain(&command, &tried));
                }
                let evaluation = self.attribute(flake.clone(), attribute, None).await?;
                Ok(Host::Evaluated(Box::new(evaluation)))
            }
            "unknown" => Ok(Host::Unknown(answer.names)),
            _ => {
                let system = ["nixosConfigurations", host].map(str::to_owned);
                let system = quote::attribute_path(&system)?;
                Err(failure::no_image(&system, &answer.names))
            }
        }
    }

    async fn look_into_store(&self, typed: PathBuf) -> Result<Evaluation> {
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
        let what = self.what.clone();
        if path != object || object.extension().is_none_or(|end| end != "drv") {
            let step = Step::StorePath {
                path,
                object: object.clone(),
                there,
            };
            return Ok(Evaluation::of_object(what, step, object));
        }
        let file = object.clone();
        let known = blocking(move || Ok(Derivation::read(&file))).await?;
        let step = Step::Derivation {
            target: object.clone(),
            root: None,
            ask: None,
        };
        Ok(Evaluation::of_derivation(what, step, object, known, None))
    }
}

/// `nixosConfigurations.HOST.config.system.build` and the rest, quoted.
fn image_attribute(host: &str, names: &[&str]) -> Result<String> {
    let mut path = vec!["nixosConfigurations", host, "config", "system", "build"];
    path.extend(names);
    let path: Vec<_> = path.into_iter().map(str::to_owned).collect();
    quote::attribute_path(&path)
}

enum Host {
    /// What its image would be.
    Evaluated(Box<Evaluation>),
    /// There is no such host; these there are.
    Unknown(Vec<String>),
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
