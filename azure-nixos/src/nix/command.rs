//! The command lines. Pure: nothing is run here, so that tests can read what would be.
//!
//! First something is evaluated, then it is built, so that it is known what would be built before
//! it is. Files and expressions go through `nix-instantiate` and `nix-store`, flakes twice through
//! `nix build`: the first have exit codes that mean something, the second is the only one that knows
//! flakes and their settings. Nothing ever goes through a shell.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::flake::Flake;
use super::installable::{Argument, Installable, InstallableSource};
use super::quote;
use crate::{Error, ErrorKind, Result};

/// One argument with a space in it: Nix reads a list from one word.
const FEATURES: &str = "nix-command flakes";

const RESOLVE: &str = include_str!("resolve.nix");
const HOSTS: &str = include_str!("hosts.nix");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Nix,
    NixInstantiate,
    NixStore,
}

impl Program {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nix => "nix",
            Self::NixInstantiate => "nix-instantiate",
            Self::NixStore => "nix-store",
        }
    }
}

/// What the caller can set for every command.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) max_silent_time: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) settings: Vec<(String, String)>,
}

/// A command line, and where to start it if not in the current directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) program: Program,
    pub(super) arguments: Vec<OsString>,
    pub(super) directory: Option<PathBuf>,
}

impl Command {
    fn new(program: Program) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            directory: None,
        }
    }

    /// `nix SUBCOMMAND`, with flakes whether the user has enabled them or not.
    fn nix(subcommand: &str) -> Self {
        Self::new(Program::Nix)
            .words(&["--extra-experimental-features", FEATURES])
            .words(&[subcommand])
    }

    fn words(mut self, words: &[&str]) -> Self {
        self.arguments.extend(words.iter().map(OsString::from));
        self
    }

    fn path(mut self, option: &str, path: &Path) -> Self {
        self.arguments.push(option.into());
        self.arguments.push(path.into());
        self
    }

    fn events(self) -> Self {
        self.words(&["--log-format", "internal-json"])
    }

    fn options(mut self, options: &Options) -> Self {
        let seconds = |time: Duration| time.as_secs().max(1).to_string();
        if let Some(time) = options.max_silent_time {
            self = self.words(&["--max-silent-time", &seconds(time)]);
        }
        if let Some(time) = options.timeout {
            self = self.words(&["--timeout", &seconds(time)]);
        }
        for (name, value) in &options.settings {
            self = self.words(&["--option", name, value]);
        }
        self
    }

    fn includes_and_arguments(mut self, installable: &Installable) -> Self {
        for entry in &installable.includes {
            self = self.words(&["-I", entry]);
        }
        for argument in &installable.arguments {
            self = match argument {
                Argument::Expression(name, value) => self.words(&["--arg", name, value]),
                Argument::String(name, value) => self.words(&["--argstr", name, value]),
            };
        }
        self
    }

    fn at(mut self, flake: &Flake) -> Self {
        self.directory.clone_from(&flake.directory);
        self
    }

    /// The words of the command, the program first.
    pub(super) fn argv(&self) -> Vec<&OsStr> {
        std::iter::once(OsStr::new(self.program.name()))
            .chain(self.arguments.iter().map(OsString::as_os_str))
            .collect()
    }
}

/// Evaluates a file or an expression to a derivation that `link` then keeps.
pub(super) fn instantiate(
    expression: &str,
    what: &Installable,
    options: &Options,
    link: &Path,
) -> Command {
    Command::new(Program::NixInstantiate)
        .events()
        .path("--add-root", link)
        .options(options)
        .includes_and_arguments(what)
        .words(&["-E", expression])
}

/// Asks for something about the image: evaluates an expression that was made with [`Asked::FileName`] or
/// [`Asked::Platform`].
pub(super) fn ask_expression(expression: &str, what: &Installable, options: &Options) -> Command {
    Command::new(Program::NixInstantiate)
        .words(&["--eval", "--strict", "--json"])
        .events()
        .options(options)
        .includes_and_arguments(what)
        .words(&["-E", expression])
}

/// What an attribute of a flake is on the command line; the empty one is its default package.
fn of_flake(flake: &Flake, attribute: &str) -> String {
    if attribute.is_empty() {
        flake.url.clone()
    } else {
        flake.with_attribute(attribute)
    }
}

/// Evaluates an attribute of a flake.
pub(super) fn evaluate_flake(flake: &Flake, attribute: &str, options: &Options) -> Command {
    Command::nix("build")
        .words(&["--dry-run", "--json"])
        .events()
        .options(options)
        .words(&[&of_flake(flake, attribute)])
        .at(flake)
}

/// Builds an attribute of a flake.
pub(super) fn build_flake(
    flake: &Flake,
    attribute: &str,
    options: &Options,
    link: &Path,
) -> Command {
    Command::nix("build")
        .words(&["--json"])
        .events()
        .path("--out-link", link)
        .options(options)
        .words(&[&of_flake(flake, attribute)])
        .at(flake)
}

/// Asks a flake which image its host offers, without evaluating any.
pub(super) fn probe_host(flake: &Flake, host: &str, options: &Options) -> Command {
    let probe = format!("({}) {}", without_comments(HOSTS), quote::string(host));
    Command::nix("eval")
        .words(&["--json"])
        .events()
        .options(options)
        .words(&[
            &flake.with_attribute("nixosConfigurations"),
            "--apply",
            &probe,
        ])
        .at(flake)
}

/// Asks an attribute of a flake for the name of its image.
pub(super) fn flake_file_name(flake: &Flake, attribute: &str, options: &Options) -> Command {
    Command::nix("eval")
        .words(&["--json"])
        .events()
        .options(options)
        .words(&[&flake.with_attribute(attribute), "--apply", FILE_NAME])
        .at(flake)
}

/// Asks for which system the configuration is that an attribute of a flake belongs to: that of its host,
/// or the one that an image carries.
pub(super) fn flake_platform(flake: &Flake, attribute: &str, options: &Options) -> Command {
    let names = quote::parse_attribute_path(attribute).unwrap_or_default();
    let of = match names.as_slice() {
        [first, host, ..] if first == "nixosConfigurations" => {
            quote::attribute_path(&[first.clone(), host.clone()]).ok()
        }
        _ => None,
    };
    Command::nix("eval")
        .words(&["--json"])
        .events()
        .options(options)
        .words(&[
            &of_flake(flake, of.as_deref().unwrap_or(attribute)),
            "--apply",
            PLATFORM,
        ])
        .at(flake)
}

/// Asks how Nix is set up. Only the feature is enabled without which there are no such commands, so
/// that it shows whether the user has enabled flakes.
pub(super) fn host_fact(name: &[&str], more: &[&str], options: &Options) -> Command {
    Command::new(Program::Nix)
        .words(&["--extra-experimental-features", "nix-command"])
        .words(name)
        .words(more)
        .events()
        .options(options)
}

/// Asks which Nix there is.
pub(super) fn version() -> Command {
    Command::new(Program::Nix).words(&["--version"])
}

/// Builds a derivation, or makes a store path valid if it can be had, and registers `link` as its
/// root. Behind a derivation and a `!` stand the outputs that are wanted.
pub(super) fn realise(object: &Path, options: &Options, link: &Path) -> Command {
    let mut command = Command::new(Program::NixStore)
        .words(&["--realise"])
        .events()
        .path("--add-root", link)
        .options(options);
    command.arguments.push(object.into());
    command
}

/// Asks what building a derivation would have to do.
pub(super) fn realise_dry(object: &Path, options: &Options) -> Command {
    let mut command = Command::new(Program::NixStore)
        .words(&["--realise", "--dry-run"])
        .events()
        .options(options);
    command.arguments.push(object.into());
    command
}

/// `filePath` is what image builders in nixpkgs call the file, from 25.05 on.
const FILE_NAME: &str =
    "(d: d.passthru.filePath or d.filePath or d.passthru.config.image.filePath or null)";

/// What is not set throws.
const PLATFORM: &str = "(v: let t = builtins.tryEval (v.pkgs.stdenv.hostPlatform.system or v.config.nixpkgs.hostPlatform.system \
     or v.passthru.config.nixpkgs.hostPlatform.system or null); in if t.success then t.value else null)";

/// Comments are for the readers of the file, not for those of `ps`.
fn without_comments(nix: &str) -> String {
    let lines = nix
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

/// What an expression is to evaluate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The derivation of the image.
    Image,
    /// The name of the file in its output, or null.
    FileName,
    /// The system that its configuration is for, or null.
    Platform,
}

/// The expression that finds the image in what the user named.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a path that is not UTF-8, or a broken attribute path.
pub(super) fn expression(what: &Installable, file: Option<&Path>, asked: Asked) -> Result<String> {
    let path = quote::parse_attribute_path(what.attribute.as_deref().unwrap_or_default())?;
    let target = match (what.source(), file) {
        (InstallableSource::File(_), Some(file)) => {
            let Some(text) = file.to_str() else {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "the path {} is not UTF-8, which nix cannot read",
                        file.display()
                    ),
                ));
            };
            // A string is joined to a path because a path literal has no way to write a space.
            format!("import (/. + {})", quote::string(text))
        }
        (InstallableSource::Lookup(name), _) => format!("import {name}"),
        // The line break ends a comment that the expression may end with.
        (InstallableSource::Expression(text), _) => format!("({text}\n)"),
        _ => {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("{what} is not an expression"),
            ));
        }
    };
    let path = quote::strings(&path);
    // Only a function is given the arguments; `nix-instantiate --eval` calls it only if there are any.
    let (head, args) = if what.arguments.is_empty() {
        ("", "{ }")
    } else {
        ("{ ... }@args: ", "args")
    };
    let (ask, result) = match asked {
        Asked::Image => ("", "image"),
        Asked::FileName => (FILE_NAME, "image"),
        Asked::Platform => ("", "platform"),
    };
    let resolve = without_comments(RESOLVE);
    Ok(format!(
        "({head}{ask}(({resolve}) {{ expression = {target}; path = {path}; args = {args}; }}).{result})"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::flake::Target;
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        command
            .argv()
            .into_iter()
            .map(|word| word.to_str().unwrap().to_owned())
            .collect()
    }

    fn flake(url: &str) -> Flake {
        Flake {
            url: url.into(),
            directory: None,
            target: Target::Default,
        }
    }

    #[test]
    fn a_file_with_everything() {
        let what = Installable::file("-a b.nix")
            .attr("config.\"x.y\"")
            .include("nixpkgs=/n")
            .arg("size", "1 + 1")
            .argstr("name", "-w \"eb\"");
        let options = Options {
            max_silent_time: Some(Duration::from_secs(600)),
            timeout: Some(Duration::from_millis(1)),
            settings: vec![("cores".into(), "2".into())],
        };
        let text = expression(&what, Some(Path::new("/p/-a b.nix")), Asked::Image).unwrap();
        assert!(text.starts_with("({ ... }@args: (("));
        assert!(text.ends_with(
            r#") { expression = import (/. + "/p/-a b.nix"); path = [ "config" "x.y" ]; args = args; }).image)"#
        ));
        let command = instantiate(&text, &what, &options, Path::new("/t/root"));
        assert_eq!(
            words(&command),
            [
                "nix-instantiate",
                "--log-format",
                "internal-json",
                "--add-root",
                "/t/root",
                "--max-silent-time",
                "600",
                "--timeout",
                "1",
                "--option",
                "cores",
                "2",
                "-I",
                "nixpkgs=/n",
                "--arg",
                "size",
                "1 + 1",
                "--argstr",
                "name",
                "-w \"eb\"",
                "-E",
                &text,
            ]
        );
    }

    #[test]
    fn a_lookup_and_an_expression() {
        let text = expression(&Installable::file("<nixpkgs/nixos>"), None, Asked::Image).unwrap();
        assert!(text.ends_with(
            ") { expression = import <nixpkgs/nixos>; path = [ ]; args = { }; }).image)"
        ));
        let text = expression(&Installable::expr("x # why"), None, Asked::Image).unwrap();
        assert!(text.ends_with(") { expression = (x # why\n); path = [ ]; args = { }; }).image)"));
    }

    #[test]
    fn features_are_one_word_and_hosts_are_quoted() {
        let command = build_flake(
            &flake("/f"),
            "nixosConfigurations.\"we.ird\".config.system.build.azureImage",
            &Options::default(),
            Path::new("/t/root"),
        );
        assert_eq!(
            words(&command),
            [
                "nix",
                "--extra-experimental-features",
                "nix-command flakes",
                "build",
                "--json",
                "--log-format",
                "internal-json",
                "--out-link",
                "/t/root",
                "/f#nixosConfigurations.\"we.ird\".config.system.build.azureImage",
            ]
        );
        let command = build_flake(&flake("/f"), "", &Options::default(), Path::new("/t/root"));
        assert_eq!(words(&command).last().unwrap(), "/f");
        let command = evaluate_flake(&flake("/f"), "packages.\"a b\"", &Options::default());
        assert_eq!(
            words(&command)[3..],
            [
                "build",
                "--dry-run",
                "--json",
                "--log-format",
                "internal-json",
                "/f#packages.\"a b\"",
            ]
        );
    }

    #[test]
    fn a_probe_asks_for_one_host() {
        let command = probe_host(&flake("/f"), "a\"${b}", &Options::default());
        let words = words(&command);
        assert_eq!(
            words[..8],
            [
                "nix",
                "--extra-experimental-features",
                "nix-command flakes",
                "eval",
                "--json",
                "--log-format",
                "internal-json",
                "/f#nixosConfigurations",
            ]
        );
        assert_eq!(words[8], "--apply");
        assert!(words[9].ends_with(r#") "a\"\${b}""#), "{}", words[9]);
    }

    #[test]
    fn a_store_path_is_realised_with_a_root() {
        let command = realise(
            Path::new("/nix/store/x"),
            &Options::default(),
            Path::new("/t/root"),
        );
        assert_eq!(
            words(&command),
            [
                "nix-store",
                "--realise",
                "--log-format",
                "internal-json",
                "--add-root",
                "/t/root",
                "/nix/store/x",
            ]
        );
    }
}
