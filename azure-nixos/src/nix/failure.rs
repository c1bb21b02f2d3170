//! From what Nix said before it gave up to one sentence, the builder's last lines, and a hint.

use std::os::unix::process::ExitStatusExt as _;

use serde::Deserialize;

use super::command::Program;
use super::event::{Complaint, clip};
use super::hint;
use super::installable::short_name;
use super::process::Finished;
use super::quote;
use crate::{Error, ErrorKind};

/// Bytes of Nix's own explanation that go into the error.
const EXPLANATION: usize = 4 << 10;
/// Bytes of one line of a builder in the error.
const LINE: usize = 500;

/// The mark that `resolve.nix` puts around its refusals.
const MARK: &str = "@azure-nixos";

/// The error of a command that did not end with status 0. `what` is what the user asked for.
pub(super) fn explain(what: &str, program: Program, finished: &Finished) -> Error {
    let complaints = &finished.parser.complaints;
    if let Some(refusal) = complaints.iter().find_map(refusal) {
        return refuse(what, &refusal);
    }
    if let Some(signal) = finished.status.signal() {
        return Error::new(
            ErrorKind::Build,
            format!("{} was killed by signal {signal} while it worked on {what}", program.name()),
        )
        .with_hint(match signal {
            9 => "the machine may have run out of memory: look at `dmesg`, or lower max-jobs and cores",
            _ => "somebody stopped it: run it again",
        });
    }
    let code = finished.status.code().unwrap_or(1);
    let failure = Failure::find(complaints, bits(program, code));
    let mut error = Error::new(ErrorKind::Build, failure.sentence(what, program, code));
    if let Some(complaint) = failure.complaint {
        // What the sentence says already is not said again.
        if complaint.full.trim_start_matches("error:").trim() != first_line(&complaint.message) {
            error = error.with_context("nix", indent(&clip(&complaint.full, EXPLANATION)));
        }
        if let Some(position) = &complaint.position {
            error = error.with_context("at", position);
        }
    }
    let logs = &finished.parser.logs;
    let tail = match failure.derivation {
        Some(derivation) => logs.tail(derivation),
        None if failure.cause == Cause::Other => Vec::new(),
        None => logs.last_tail(),
    };
    if let Some(derivation) = failure.derivation {
        error = error.with_context("derivation", derivation);
    }
    if !tail.is_empty() {
        let lines: Vec<_> = tail.iter().map(|line| clip(line, LINE)).collect();
        error = error.with_context(
            "last lines of the builder",
            format!("\n    {}", lines.join("\n    ")),
        );
    }
    let others: Vec<_> = logs.others().map(|line| clip(line, LINE)).collect();
    if failure.cause == Cause::Other && !others.is_empty() {
        error = error.with_context("before that", indent(&others.join("\n")));
    }
    let texts = complaints
        .iter()
        .map(|complaint| complaint.full.as_str())
        .chain(others.iter().map(String::as_str));
    match hint::find(texts, &tail).or_else(|| failure.cause.hint()) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Exit codes of `nix-store` from 96 on are sets of flags; `nix build` has one code for everything.
fn bits(program: Program, code: i32) -> i32 {
    if program == Program::NixStore && (96..112).contains(&code) {
        code & 0xf
    } else {
        0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Builder,
    Timeout,
    Hash,
    Determinism,
    Other,
}

impl Cause {
    fn hint(self) -> Option<String> {
        let text = match self {
            Self::Timeout => {
                "a build that writes nothing for long may be given more time with --max-silent-time"
            }
            Self::Hash => "something that is downloaded has changed: update its hash, or nixpkgs",
            Self::Determinism => {
                "the build gave another result than before: do without --check, or report it to nixpkgs"
            }
            Self::Builder | Self::Other => return None,
        };
        Some(text.to_owned())
    }
}

struct Failure<'a> {
    cause: Cause,
    complaint: Option<&'a Complaint>,
    derivation: Option<&'a str>,
}

impl<'a> Failure<'a> {
    fn find(complaints: &'a [Complaint], bits: i32) -> Self {
        let says = |words: &[&str]| {
            complaints
                .iter()
                .find(|c| words.iter().any(|word| c.message.contains(word)))
        };
        // The text is the same for `nix-build` and `nix build`; the code is there when it is not.
        let causes = [
            (Cause::Timeout, 1, says(&["timed out after"])),
            (Cause::Hash, 2, says(&["hash mismatch in fixed-output"])),
            (Cause::Determinism, 8, says(&["may not be deterministic"])),
            (
                Cause::Builder,
                0,
                says(&["builder for '", "builder failed"]),
            ),
        ];
        for (cause, bit, complaint) in causes {
            if complaint.is_some() || bits & bit != 0 {
                return Self::of(cause, complaint.or(complaints.first()));
            }
        }
        Self::of(Cause::Other, complaints.first())
    }

    fn of(cause: Cause, complaint: Option<&'a Complaint>) -> Self {
        let derivation = complaint.and_then(|complaint| {
            complaint
                .message
                .split('\'')
                .map(|part| part.split_once('!').map_or(part, |(path, _)| path))
                .find(|part| part.ends_with(".drv"))
        });
        Self {
            cause,
            complaint,
            derivation,
        }
    }

    fn sentence(&self, what: &str, program: Program, code: i32) -> String {
        let name = self.derivation.map_or(what, short_name);
        let message = self
            .complaint
            .map_or("", |complaint| complaint.message.as_str());
        match self.cause {
            Cause::Builder => {
                // "… failed with exit code 3", "… failed due to signal 9 (Killed)"
                let how = message.rsplit_once(" failed ").map_or("", |(_, how)| {
                    first_line(how).trim_end_matches(['.', ';', ',', ' '])
                });
                let how = how.split([';', ',']).next().unwrap_or(how);
                if how.is_empty() {
                    format!("the builder of {name} failed")
                } else {
                    format!("the builder of {name} failed {how}")
                }
            }
            Cause::Timeout => format!("the build of {name} took too long and was stopped"),
            Cause::Hash => format!("the content of {name} is not what its hash says"),
            Cause::Determinism => format!("the build of {name} is not deterministic"),
            Cause::Other if message.is_empty() => {
                format!("{} failed with exit code {code} on {what}", program.name())
            }
            Cause::Other => format!("nix refused {what}: {}", clip(first_line(message), LINE)),
        }
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default().trim_end()
}

fn indent(text: &str) -> String {
    let text = text.trim();
    if text.contains('\n') {
        format!("\n    {}", text.replace('\n', "\n    "))
    } else {
        text.to_owned()
    }
}

/// Why `resolve.nix` found no image.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Refusal {
    kind: String,
    at: Vec<String>,
    name: String,
    names: Vec<String>,
    #[serde(rename = "type")]
    kind_of_value: String,
    count: u64,
}

fn refusal(complaint: &Complaint) -> Option<Refusal> {
    let (_, text) = complaint.full.split_once(&format!("{MARK}:"))?;
    let (json, _) = text.split_once(MARK)?;
    serde_json::from_str(json).ok()
}

fn refuse(what: &str, refusal: &Refusal) -> Error {
    let path = |names: &[String]| quote::attribute_path(names).unwrap_or_else(|_| names.join("."));
    let here = if refusal.at.is_empty() {
        what.to_owned()
    } else {
        format!("{} of {what}", path(&refusal.at))
    };
    let names = refusal.names.join(", ");
    match refusal.kind.as_str() {
        "attribute" if refusal.kind_of_value == "set" => {
            let mut whole = refusal.at.clone();
            whole.push(refusal.name.clone());
            Error::new(
                ErrorKind::NotFound,
                format!("{what} has no attribute {}", path(&whole)),
            )
            .with_hint(if names.is_empty() {
                "the set around it is empty".to_owned()
            } else if refusal.at.is_empty() {
                format!("there are: {names}")
            } else {
                format!("in {} there are: {names}", path(&refusal.at))
            })
        }
        "attribute" => Error::new(
            ErrorKind::NotFound,
            format!(
                "{what} has no attribute {}: {here} is {}",
                refusal.name,
                article(&refusal.kind_of_value)
            ),
        ),
        "arguments" => {
            let module = refusal
                .names
                .iter()
                .any(|name| name == "config" || name == "modulesPath");
            let error = Error::new(
                ErrorKind::InvalidInput,
                format!("{here} is a function that also needs {names}"),
            );
            if module {
                error.with_hint("it looks like a NixOS module and not like an image; build the system around it: -i '<nixpkgs/nixos>' -I nixos-config=./FILE.nix")
            } else {
                error.with_hint(
                    "give it its arguments with --arg and --argstr, or give them defaults",
                )
            }
        }
        "system" => no_image(&here, &refusal.names),
        "list" => Error::new(
            ErrorKind::Ambiguous,
            format!(
                "{here} is a list of {} things and not one image",
                refusal.count
            ),
        )
        .with_hint("choose one with an expression: builtins.elemAt (import ./FILE.nix) 0"),
        "set" => Error::new(
            ErrorKind::InvalidInput,
            if names.is_empty() {
                format!("{here} is an empty set and not an image")
            } else {
                format!("{here} is a set and not an image; it has {names}")
            },
        )
        .with_hint("choose an attribute with -A"),
        _ => Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{here} is {} and not a derivation",
                article(&refusal.kind_of_value)
            ),
        )
        .with_hint("it must evaluate to an image or to a NixOS system"),
    }
}

/// The error for a system that has no image for Azure; `images` are those it has.
pub(super) fn no_image(system: &str, images: &[String]) -> Error {
    let others = if images.is_empty() {
        String::new()
    } else {
        format!(" (its images are {})", images.join(", "))
    };
    Error::new(
        ErrorKind::NotFound,
        format!(
            "{system} offers no image for Azure: it has neither config.system.build.images.azure nor config.system.build.azureImage{others}"
        ),
    )
    .with_hint("import \"${modulesPath}/virtualisation/azure-image.nix\" in its configuration, or use NixOS 25.05 or newer")
}

fn article(kind: &str) -> String {
    match kind {
        "int" => "an integer".to_owned(),
        "bool" => "a Boolean".to_owned(),
        "lambda" => "a function".to_owned(),
        "null" => "null".to_owned(),
        other => format!("a {other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::super::event::Parser;
    use super::*;

    fn finished(status: i32, messages: &[&str]) -> Finished {
        let complaints = messages.iter().map(|message| Complaint {
            message: (*message).to_owned(),
            full: format!("error: {message}"),
            position: None,
        });
        let mut parser = Parser::default();
        parser.complaints = complaints.collect();
        Finished {
            status: ExitStatus::from_raw(status),
            stdout: Vec::new(),
            parser,
        }
    }

    fn exit(code: i32, messages: &[&str]) -> Error {
        explain(
            "image.nix",
            Program::NixStore,
            &finished(code << 8, messages),
        )
    }

    #[test]
    fn exit_codes_are_told_apart_even_without_words() {
        for (code, expected) in [
            (100, "nix-store failed with exit code 100 on image.nix"),
            (101, "the build of image.nix took too long and was stopped"),
            (102, "the content of image.nix is not what its hash says"),
            (104, "the build of image.nix is not deterministic"),
            (1, "nix-store failed with exit code 1 on image.nix"),
        ] {
            assert_eq!(exit(code, &[]).to_string(), expected);
        }
        // `nix build` has one code for everything, so 101 there means nothing.
        let error = explain("x", Program::Nix, &finished(101 << 8, &[]));
        assert_eq!(error.to_string(), "nix failed with exit code 101 on x");
    }

    #[test]
    fn the_failing_builder_is_named() {
        let drv = "/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv";
        for (message, how) in [
            (
                format!("builder for '{drv}' failed with exit code 3"),
                "with exit code 3",
            ),
            (
                format!("builder for '{drv}' failed with exit code 3;\nlast 1 log lines:\n> x"),
                "with exit code 3",
            ),
            (
                format!("builder for '{drv}' failed due to signal 9 (Killed)"),
                "due to signal 9 (Killed)",
            ),
            (
                format!(
                    "Cannot build '{drv}'.\nReason: builder failed with exit code 1.\nOutput paths:"
                ),
                "with exit code 1",
            ),
        ] {
            let follow = "1 dependencies of derivation '/nix/store/x-y.drv' failed to build";
            let error = exit(1, &[&message, follow]);
            assert_eq!(
                error.to_string(),
                format!("the builder of azure-image failed {how}")
            );
        }
    }

    #[test]
    fn the_tail_and_its_hint_are_in_the_error() {
        let drv = "/nix/store/49mx8gih38xbgflgpjmr9xjzmyfxhd8z-azure-image.drv";
        let mut finished = finished(
            100 << 8,
            &[&format!("builder for '{drv}' failed with exit code 1")],
        );
        for line in ["copying", "cptofs: error: No space left on device"] {
            finished.parser.logs.push(drv, line.into());
        }
        let error = explain("x", Program::NixStore, &finished);
        assert!(
            error
                .report()
                .contains("\n    cptofs: error: No space left on device\n")
        );
        assert!(error.hint().unwrap().contains("virtualisation.diskSize"));
    }

    #[test]
    fn a_signal_is_named() {
        let error = explain("x", Program::NixStore, &finished(9, &[]));
        assert_eq!(
            error.to_string(),
            "nix-store was killed by signal 9 while it worked on x"
        );
    }

    #[test]
    fn refusals_become_sentences() {
        for (json, kind, expected) in [
            (
                r#"{"at":["config","system"],"kind":"attribute","name":"no.pe","names":["build"],"type":"set"}"#,
                ErrorKind::NotFound,
                "image.nix has no attribute config.system.\"no.pe\"",
            ),
            (
                r#"{"at":["a"],"kind":"attribute","name":"b","names":[],"type":"int"}"#,
                ErrorKind::NotFound,
                "image.nix has no attribute b: a of image.nix is an integer",
            ),
            (
                r#"{"at":[],"count":2,"kind":"list"}"#,
                ErrorKind::Ambiguous,
                "image.nix is a list of 2 things and not one image",
            ),
            (
                r#"{"at":[],"kind":"type","type":"int"}"#,
                ErrorKind::InvalidInput,
                "image.nix is an integer and not a derivation",
            ),
            (
                r#"{"at":[],"kind":"set","names":["a","b"]}"#,
                ErrorKind::InvalidInput,
                "image.nix is a set and not an image; it has a, b",
            ),
            (
                r#"{"at":["x"],"kind":"arguments","names":["config","pkgs"]}"#,
                ErrorKind::InvalidInput,
                "x of image.nix is a function that also needs config, pkgs",
            ),
        ] {
            let error = exit(1, &[&format!("{MARK}:{json}{MARK}")]);
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.kind(), kind);
        }
        let error = exit(
            1,
            &[&format!(
                "{MARK}:{{\"kind\":\"system\",\"names\":[\"linode\"]}}{MARK}"
            )],
        );
        assert!(
            error.to_string().ends_with("(its images are linode)"),
            "{error}"
        );
    }
}
