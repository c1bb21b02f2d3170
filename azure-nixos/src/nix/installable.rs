//! What is to be built, in the words its user would type.

use std::fmt;
use std::path::{Path, PathBuf};

use super::flake::has_scheme;
use crate::{Error, ErrorKind, Result};

/// What Nix is to build: a file, an expression, a flake reference or a store path.
///
/// The image does not have to be named exactly. A file or an expression may be
/// - a derivation, or a function of arguments that all have defaults or are given;
/// - a NixOS system (`import <nixpkgs/nixos> { … }`, `lib.nixosSystem { … }`): its
///   `config.system.build.images.azure` is built, or else its `config.system.build.azureImage`;
/// - a set or a list that holds one derivation.
///
/// ```
/// use azure_nixos::nix::Installable;
///
/// let file = Installable::file("image.nix").argstr("hostName", "web");
/// let classic = Installable::file("<nixpkgs/nixos>").include("nixos-config=./configuration.nix");
/// let flake = Installable::flake(".#web");
/// # let _ = (file, classic, flake);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Installable {
    source: InstallableSource,
    pub(super) attribute: Option<String>,
    pub(super) includes: Vec<String>,
    pub(super) arguments: Vec<Argument>,
}

/// The ways to say what is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallableSource {
    /// A `.nix` file, or a directory with a `default.nix`.
    File(PathBuf),
    /// A name on the search path, in its brackets: `<nixpkgs/nixos>`.
    Lookup(String),
    /// A Nix expression.
    Expression(String),
    /// A flake reference, with its fragment.
    Flake(String),
    /// Something in the Nix store.
    StorePath(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Expression(String, String),
    String(String, String),
}

impl Installable {
    fn new(source: InstallableSource) -> Self {
        Self {
            source,
            attribute: None,
            includes: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// A `.nix` file, a directory with a `default.nix`, or a name on the search path in its
    /// brackets (`<nixpkgs/nixos>`). A relative path is relative to the current directory.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        match path.to_str() {
            Some(text) if text.starts_with('<') && text.ends_with('>') => {
                Self::new(InstallableSource::Lookup(text.to_owned()))
            }
            _ => Self::new(InstallableSource::File(path)),
        }
    }

    /// A flake reference with or without a fragment.
    ///
    /// - `.#web` is the host `web`: `nixosConfigurations.web`, as `nixos-rebuild` reads it. Only
    ///   where there is no such host it is what `nix build` reads: `packages.<system>.web` and so on.
    /// - `.#nixosConfigurations.web` is the same host and nothing else.
    /// - `.#packages.x86_64-linux.azure-image`, and any longer path, is taken as it is.
    /// - `.` is the default package.
    ///
    /// A reference without a scheme is a directory, always: `foo#web` is `./foo#web`, and never
    /// looked up in a registry. Whoever wants the registry writes `flake:foo#web`.
    pub fn flake(reference: impl Into<String>) -> Self {
        Self::new(InstallableSource::Flake(reference.into()))
    }

    /// A Nix expression; relative paths in it are relative to the current directory.
    pub fn expr(expression: impl Into<String>) -> Self {
        Self::new(InstallableSource::Expression(expression.into()))
    }

    /// Something that is in the Nix store: an output, a file in it, a `.drv`, or a link to one of
    /// them (`./result`). Nothing is evaluated; a `.drv` is built.
    pub fn store_path(path: impl Into<PathBuf>) -> Self {
        Self::new(InstallableSource::StorePath(path.into()))
    }

    /// What a user means who types this, where one is asked for something to build: a name in `<…>`, a
    /// flake reference (with a `#` or a scheme, or the directory of a `flake.nix`), something in the
    /// store or a link to it, a `.nix` file or the directory of a `default.nix`. `None` for what is none
    /// of these, a disk image for one.
    ///
    /// Relative paths are relative to `base`. Looks at the file system: blocking.
    ///
    /// ```
    /// use azure_nixos::nix::{Installable, InstallableSource};
    /// use std::path::Path;
    ///
    /// let host = Installable::parse(".#web", Path::new("/etc/nixos"));
    /// assert_eq!(host, Some(Installable::flake(".#web")));
    /// let classic = Installable::parse("<nixpkgs/nixos>", Path::new("/"));
    /// assert_eq!(classic, Some(Installable::file("<nixpkgs/nixos>")));
    /// assert_eq!(Installable::parse("disk.vhd", Path::new("/")), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str, base: &Path) -> Option<Self> {
        if text.starts_with('<') && text.ends_with('>') {
            return Some(Self::file(text));
        }
        if text.contains('#') || has_scheme(text) {
            return Some(Self::flake(text));
        }
        let path = base.join(text);
        let resolved = path.canonicalize().unwrap_or_else(|_| path.clone());
        let in_store = |path: &Path| store_object(path).is_some();
        if in_store(&path) || in_store(&resolved) {
            return Some(Self::store_path(text));
        }
        // Whoever has both means the flake, as every new command of Nix does.
        if path.join("flake.nix").is_file() {
            return Some(Self::flake(text));
        }
        let is_nix = path.extension().is_some_and(|end| end == "nix");
        (is_nix || path.join("default.nix").is_file()).then(|| Self::file(text))
    }

    /// The attribute to build, as for `nix-build -A`. For files and expressions; a flake has it
    /// after its `#`.
    pub fn attr(mut self, path: impl Into<String>) -> Self {
        self.attribute = Some(path.into());
        self
    }

    /// An entry of the search path, as for `nix-build -I`: `nixpkgs=/path`, or a directory.
    pub fn include(mut self, entry: impl Into<String>) -> Self {
        self.includes.push(entry.into());
        self
    }

    /// An argument whose value is a Nix expression, as for `nix-build --arg`. It is visible to
    /// every user of the machine while Nix runs, and ends up in the store: no secrets.
    pub fn arg(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        let argument = Argument::Expression(name.into(), expression.into());
        self.arguments.push(argument);
        self
    }

    /// An argument whose value is a string, as for `nix-build --argstr`. No secrets, see
    /// [`arg`](Self::arg).
    pub fn argstr(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.arguments
            .push(Argument::String(name.into(), value.into()));
        self
    }

    /// In which way it is said what is meant.
    #[must_use]
    pub fn source(&self) -> &InstallableSource {
        &self.source
    }

    /// Refuses combinations that Nix would take and not heed.
    pub(super) fn check(&self) -> Result<()> {
        let what = match &self.source {
            InstallableSource::Flake(_) => "a flake reference",
            InstallableSource::StorePath(_) => "a store path",
            InstallableSource::Lookup(text) => return check_lookup(text),
            InstallableSource::Expression(text) if text.trim().is_empty() => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the expression is empty",
                ));
            }
            InstallableSource::File(path) if path.as_os_str().is_empty() => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "the name of the Nix file is empty",
                ));
            }
            InstallableSource::File(_) | InstallableSource::Expression(_) => return Ok(()),
        };
        let option = if self.attribute.is_some() {
            "-A"
        } else if !self.includes.is_empty() {
            "-I"
        } else if !self.arguments.is_empty() {
            "--arg and --argstr"
        } else {
            return Ok(());
        };
        let error = Error::new(
            ErrorKind::InvalidInput,
            format!("{option} cannot be used with {what} ({self})"),
        );
        Err(match self.source {
            InstallableSource::Flake(_) => {
                error.with_hint("name the attribute after the #: .#packages.x86_64-linux.image")
            }
            _ => error.with_hint("these options are for .nix files and expressions"),
        })
    }

    /// The file name for messages; what is too long for a sentence is cut.
    pub(super) fn name(&self) -> String {
        match &self.source {
            InstallableSource::File(path) | InstallableSource::StorePath(path) => {
                path.display().to_string()
            }
            InstallableSource::Lookup(text) | InstallableSource::Flake(text) => text.clone(),
            InstallableSource::Expression(text) => {
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                if line.chars().count() > 60 {
                    let start: String = line.chars().take(57).collect();
                    format!("{start}…")
                } else {
                    line
                }
            }
        }
    }
}

/// The form people see in messages: what they typed, and the attribute.
impl fmt::Display for Installable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(attribute) = &self.attribute {
            write!(f, " -A {attribute}")?;
        }
        Ok(())
    }
}

/// `<nixpkgs/nixos>` goes into an expression as it is, so it may hold nothing else.
fn check_lookup(text: &str) -> Result<()> {
    let inner = text.trim_start_matches('<').trim_end_matches('>');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+/".contains(c);
    if !inner.is_empty() && inner.len() + 2 == text.len() && inner.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("{text} is not a name on the search path"),
    )
    .with_hint("it looks like <nixpkgs/nixos>"))
}

/// The part of a path that is an object of some Nix store, and whether there is more behind it.
///
/// An object's name is a 32 digit hash in Nix's base 32, a dash and a name; where the store is does
/// not matter, so relocated stores work and Nix does not have to be asked.
pub(super) fn store_object(path: &Path) -> Option<PathBuf> {
    let mut object = PathBuf::new();
    for component in path.components() {
        object.push(component);
        if let Some(name) = component.as_os_str().to_str()
            && is_object_name(name)
        {
            return Some(object);
        }
    }
    None
}

fn is_object_name(name: &str) -> bool {
    let Some((hash, rest)) = name.split_at_checked(32) else {
        return false;
    };
    let digit = |b: u8| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"eotu".contains(&b));
    hash.bytes().all(digit) && rest.len() > 1 && rest.starts_with('-')
}

/// `azure-image` of `/nix/store/…-azure-image.drv`.
pub(super) fn short_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.split_once('!').map_or(name, |(name, _)| name);
    let name = name.strip_suffix(".drv").unwrap_or(name);
    match name.split_at_checked(33) {
        Some((_, rest)) if is_object_name(name) => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_would_be_ignored_are_refused() {
        for installable in [
            Installable::flake(".#x").attr("a"),
            Installable::flake(".#x").include("nixpkgs=/x"),
            Installable::flake(".#x").argstr("a", "b"),
            Installable::store_path("/nix/store/x").arg("a", "1"),
            Installable::expr("  \n"),
            Installable::file(""),
            Installable::file("<nix pkgs>"),
            Installable::file("<>"),
            Installable::file("<<a>>"),
        ] {
            let error = installable.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{installable}");
        }
        Installable::file("<nixpkgs/nixos>")
            .attr("a")
            .check()
            .unwrap();
        Installable::file("a b.nix").include("x=y").check().unwrap();
    }

    #[test]
    fn what_people_type_is_understood() {
        let root = tempfile::tempdir().unwrap();
        let object = root.path().join("w8bsg8jk557lb4qgl6mpb0s99gf5za2l-image");
        for directory in ["both", "classic", "empty"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        for file in [
            "both/flake.nix",
            "both/default.nix",
            "classic/default.nix",
            "disk.vhd",
        ] {
            std::fs::write(root.path().join(file), "x").unwrap();
        }
        std::fs::create_dir(&object).unwrap();
        std::os::unix::fs::symlink(&object, root.path().join("result")).unwrap();
        let object = object.to_str().unwrap();
        for (text, expected) in [
            (
                "<nixpkgs/nixos>",
                Some(Installable::file("<nixpkgs/nixos>")),
            ),
            (".#web", Some(Installable::flake(".#web"))),
            ("github:a/b", Some(Installable::flake("github:a/b"))),
            ("both", Some(Installable::flake("both"))),
            ("classic", Some(Installable::file("classic"))),
            ("image.nix", Some(Installable::file("image.nix"))),
            ("./result", Some(Installable::store_path("./result"))),
            (object, Some(Installable::store_path(object))),
            (
                "/nix/store/w8bsg8jk557lb4qgl6mpb0s99gf5za2l-gone/disk.vhd",
                Some(Installable::store_path(
                    "/nix/store/w8bsg8jk557lb4qgl6mpb0s99gf5za2l-gone/disk.vhd",
                )),
            ),
            ("disk.vhd", None),
            ("empty", None),
            ("nothing", None),
        ] {
            assert_eq!(Installable::parse(text, root.path()), expected, "{text}");
        }
    }

    #[test]
    fn objects_are_found_in_any_store() {
        let object = "/tmp/r/store/w8bsg8jk557lb4qgl6mpb0s99gf5za2l-azure-image";
        assert_eq!(store_object(Path::new(object)), Some(object.into()));
        assert_eq!(
            store_object(&Path::new(object).join("a/disk.vhd")),
            Some(object.into())
        );
        // An `e` is no digit, and a hash alone is no name.
        for path in [
            "/nix/store",
            "/nix/store/e8bsg8jk557lb4qgl6mpb0s99gf5za2l-x",
            "/nix/store/w8bsg8jk557lb4qgl6mpb0s99gf5za2l",
            "/home/me/disk.vhd",
        ] {
            assert_eq!(store_object(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn names_lose_store_hash_and_suffix() {
        let drv = "/nix/store/klig6pwc02zpchnm5wlkw587y72n78fc-azure-image.drv";
        assert_eq!(short_name(drv), "azure-image");
        assert_eq!(short_name(&format!("{drv}!out")), "azure-image");
        assert_eq!(short_name("what"), "what");
        assert_eq!(short_name(""), "");
    }

    #[test]
    fn a_long_expression_is_cut_in_messages() {
        let text = Installable::expr(format!("a\n  {}", "b".repeat(200))).to_string();
        assert_eq!(text.chars().count(), 58);
        assert!(text.starts_with("a bbb"));
    }
}
