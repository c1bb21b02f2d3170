//! Flake references: which of them are directories, and what their fragment means.

use std::path::{Path, PathBuf};

use super::quote;
use crate::{Error, ErrorKind, Result};

/// Outputs whose name at the beginning of a fragment means: this is the whole path.
const OUTPUTS: [&str; 10] = [
    "packages",
    "legacyPackages",
    "defaultPackage",
    "checks",
    "apps",
    "devShells",
    "hydraJobs",
    "nixosModules",
    "lib",
    "overlays",
];

/// A flake reference that means the same thing wherever it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flake {
    /// What Nix is given in front of the `#`.
    pub(super) url: String,
    /// Where Nix must be started for `url` to mean what it should.
    pub(super) directory: Option<PathBuf>,
    pub(super) target: Target,
}

/// What the fragment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// No fragment: the default package.
    Default,
    /// An attribute path for Nix to find, quoted already.
    Attribute(String),
    /// `nixosConfigurations.NAME`.
    Host(String),
    /// A host if there is one of that name, or else an attribute (quoted already).
    Name { host: String, attribute: String },
}

impl Flake {
    /// The text for Nix's command line.
    pub(super) fn with_attribute(&self, attribute: &str) -> String {
        format!("{}#{}", self.url, quote::fragment(attribute))
    }

    /// Takes a reference apart; `base` is what relative paths are relative to. Looks at the file
    /// system, and is called on a blocking thread.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] and [`ErrorKind::NotFound`] for what cannot be a flake.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Self> {
        let text = text.trim();
        let (reference, fragment) = match text.split_once('#') {
            Some((reference, fragment)) => (reference, fragment),
            None => (text, ""),
        };
        if text.is_empty() {
            return Err(
                Error::new(ErrorKind::InvalidInput, "the flake reference is empty")
                    .with_hint("name a flake and a host: .#web"),
            );
        }
        let target = parse_target(fragment)?;
        if has_scheme(reference) {
            return Ok(Self {
                url: absolute_url(reference, base),
                directory: None,
                target,
            });
        }
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (reference, String::new()),
        };
        let path = if path.is_empty() { "." } else { path };
        let directory = clean(&base.join(path));
        check_directory(&directory, path)?;
        // Nix 2.8 does not take a link for a directory.
        let directory = directory
            .canonicalize()
            .map_err(|error| Error::io("look at the flake", &directory, error))?;
        let Some(url) = directory.to_str() else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the path of the flake {} is not UTF-8", directory.display()),
            ));
        };
        // The characters every Nix from 2.8 on takes in a path. For all others there is no spelling
        // that works everywhere, but starting there and saying `.` does.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~+=@".contains(c);
        let (url, directory) = if url.chars().all(plain) {
            (url.to_owned(), None)
        } else {
            (".".to_owned(), Some(directory))
        };
        Ok(Self {
            url: format!("{url}{query}"),
            directory,
            target,
        })
    }
}

/// `github:a/b`, `git+file:///x`, `path:./x`, `flake:nixpkgs`.
pub(super) fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// `path:./x` is relative to wherever Nix is started.
fn absolute_url(reference: &str, base: &Path) -> String {
    if let Some(rest) = reference.strip_prefix("path:")
        && !rest.starts_with('/')
    {
        let (path, query) = match rest.find('?') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        return format!("path:{}{query}", clean(&base.join(path)).display());
    }
    reference.to_owned()
}

/// Without `.` and `..`, as Nix reads it.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                cleaned.pop();
            }
            other => cleaned.push(other),
        }
    }
    cleaned
}

fn check_directory(directory: &Path, typed: &str) -> Result<()> {
    let registry = || {
        format!(
            "a flake reference without a scheme is a directory; for the registry write flake:{typed}"
        )
    };
    match std::fs::metadata(directory) {
        Ok(data) if data.is_dir() => {}
        Ok(_) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} is not a directory, so it is no flake",
                    directory.display()
                ),
            )
            .with_hint(
                "name the directory of flake.nix; a .nix file that is no flake is given as a file",
            ));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "there is no directory {} for the flake",
                    directory.display()
                ),
            )
            .with_hint(registry()));
        }
        Err(error) => return Err(Error::io("look at the flake", directory, error)),
    }
    // Nix looks upwards as well.
    if directory
        .ancestors()
        .any(|ancestor| ancestor.join("flake.nix").exists())
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!(
            "there is no flake.nix in {} or above it",
            directory.display()
        ),
    )
    .with_hint(registry()))
}

fn parse_target(fragment: &str) -> Result<Target> {
    // Percent signs are Nix's own quoting; they are undone here and done again for the command.
    let fragment = decode(fragment);
    if fragment.is_empty() {
        return Ok(Target::Default);
    }
    // `a^out` chooses outputs, `.a` is a path from the root: both mean exactly what they say.
    if fragment.contains('^') || fragment.starts_with('.') {
        return Ok(Target::Attribute(fragment));
    }
    let names = quote::parse_attribute_path(&fragment)?;
    match names.as_slice() {
        [first] if first == "nixosConfigurations" => Err(Error::new(
            ErrorKind::InvalidInput,
            "nixosConfigurations names no host",
        )
        .with_hint("add the host: .#nixosConfigurations.web, or short .#web")),
        [first, host] if first == "nixosConfigurations" => Ok(Target::Host(host.clone())),
        [first, ..] if first == "nixosConfigurations" || OUTPUTS.contains(&first.as_str()) => {
            Ok(Target::Attribute(quote::attribute_path(&names)?))
        }
        // As `nixos-rebuild` does, `.#we.ird` is a host with a dot in its name.
        [host] => Ok(Target::Name {
            host: host.clone(),
            attribute: quote::attribute_path(&names)?,
        }),
        _ => Ok(Target::Name {
            host: fragment.replace('"', ""),
            attribute: quote::attribute_path(&names)?,
        }),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|_| first == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flake_in(name: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().canonicalize().unwrap().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("flake.nix"), "{ outputs = _: { }; }").unwrap();
        (root, directory)
    }

    #[test]
    fn directories_become_absolute_and_never_a_registry_name() {
        let (root, directory) = flake_in("foo");
        for text in ["foo#web", "./foo#web", "./foo/../foo#web"] {
            let flake = Flake::parse(text, root.path()).unwrap();
            assert_eq!(flake.url, directory.to_str().unwrap(), "{text}");
            assert_eq!(
                flake.target,
                Target::Name {
                    host: "web".into(),
                    attribute: "web".into()
                }
            );
        }
        for text in [".#web", "#web", ".?dir=x#web"] {
            let flake = Flake::parse(text, &directory).unwrap();
            assert!(flake.url.starts_with(directory.to_str().unwrap()), "{text}");
        }
        let error = Flake::parse("nixpkgs#web", root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint().unwrap().contains("flake:nixpkgs"));
    }

    #[test]
    fn schemes_are_left_alone() {
        for url in [
            "github:NixOS/nixpkgs/nixos-25.05",
            "git+ssh://git@example.org/a?ref=b",
            "flake:nixpkgs",
            "path:/a/b",
        ] {
            let flake = Flake::parse(&format!("{url}#x"), Path::new("/base")).unwrap();
            assert_eq!(flake.url, url);
        }
        let flake = Flake::parse("path:./a?x=1#x", Path::new("/base")).unwrap();
        assert_eq!(flake.url, "path:/base/a?x=1");
    }

    #[test]
    fn a_path_with_a_space_is_entered() {
        let (root, directory) = flake_in("a b");
        let flake = Flake::parse("a b#web", root.path()).unwrap();
        assert_eq!(
            (flake.url.as_str(), flake.directory),
            (".", Some(directory))
        );
    }

    #[test]
    fn fragments_say_what_is_meant() {
        let target = |fragment: &str| parse_target(fragment).unwrap();
        let attribute = |text: &str| Target::Attribute(text.to_owned());
        let name = |host: &str, attribute: &str| Target::Name {
            host: host.to_owned(),
            attribute: attribute.to_owned(),
        };
        assert_eq!(target(""), Target::Default);
        assert_eq!(target("web"), name("web", "web"));
        assert_eq!(target("\"we.ird\""), name("we.ird", "\"we.ird\""));
        assert_eq!(target("we.ird"), name("we.ird", "we.ird"));
        assert_eq!(target("a%20b"), name("a b", "\"a b\""));
        assert_eq!(
            target("nixosConfigurations.\"we.ird\""),
            Target::Host("we.ird".into())
        );
        assert_eq!(
            target("nixosConfigurations.h.config.system.build.azureImage"),
            attribute("nixosConfigurations.h.config.system.build.azureImage")
        );
        assert_eq!(
            target("packages.x86_64-linux.a"),
            attribute("packages.x86_64-linux.a")
        );
        assert_eq!(target("web^out"), attribute("web^out"));
        assert!(parse_target("nixosConfigurations").is_err());
    }

    #[test]
    fn what_is_no_flake_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("image.nix"), "1").unwrap();
        let error = Flake::parse("image.nix", root.path()).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
        let error = Flake::parse(".", root.path()).unwrap_err();
        assert!(error.to_string().contains("no flake.nix"), "{error}");
        assert!(Flake::parse("", root.path()).is_err());
    }
}
