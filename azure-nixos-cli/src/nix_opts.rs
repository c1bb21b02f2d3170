//! The options that say what an image is made from, and how Nix is run for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use azure_nixos::image::ImageSource;
use azure_nixos::nix::{Installable, Nix};
use clap::Args;

use crate::run::Failure;

/// The sources that take no arguments of a Nix expression. Clap lets a requirement go where what is
/// required conflicts with what is there, so it has to be told twice.
const NOT_NIX: [&str; 3] = ["flake", "store_path", "image_file"];

/// What the image is made from.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Source {
    /// What to make the image from, in any of the ways below: .#host, image.nix, '<nixpkgs/nixos>',
    /// ./result, disk.vhd
    #[arg(value_name = "IMAGE", group = "expression")]
    image: Option<String>,
    /// Nix file whose value is the image, or a system that has one
    #[arg(short = 'i', long, value_name = "FILE.nix", group = "expression")]
    pub(crate) image_nix: Option<PathBuf>,
    /// Nix expression whose value is the image, or a system that has one
    #[arg(short = 'E', long, value_name = "EXPR", group = "expression")]
    expr: Option<String>,
    /// Flake reference, such as .#host
    #[arg(long, value_name = "REF")]
    flake: Option<String>,
    /// Path in the Nix store that holds the image
    #[arg(long, value_name = "PATH")]
    store_path: Option<PathBuf>,
    /// Disk image file: raw, VHD, VHDX or qcow2; raw and fixed VHD also compressed with gzip, xz or zstd
    #[arg(long, value_name = "FILE")]
    image_file: Option<PathBuf>,
}

/// How Nix is run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Nix options")]
pub(crate) struct NixOptions {
    /// Attribute of the Nix file or expression that is the image
    #[arg(short = 'A', long, requires = "expression", conflicts_with_all = NOT_NIX)]
    attr: Option<String>,
    /// Entry of the Nix search path, as nix-build takes it; may be repeated
    #[arg(short = 'I', long, value_name = "PATH", requires = "expression", conflicts_with_all = NOT_NIX)]
    include: Vec<String>,
    /// Argument of the Nix function, a Nix expression; may be repeated
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPR"], requires = "expression", conflicts_with_all = NOT_NIX)]
    arg: Vec<String>,
    /// Argument of the Nix function, a string; may be repeated
    #[arg(long, num_args = 2, value_names = ["NAME", "STRING"], requires = "expression", conflicts_with_all = NOT_NIX)]
    argstr: Vec<String>,
    /// Leave a link to the output of the build here, which also keeps it from being collected as garbage
    #[arg(long, value_name = "LINK", conflicts_with = "image_file")]
    out_link: Option<PathBuf>,
    /// Stop a build that writes nothing for so many seconds [default: what nix.conf says]
    #[arg(long, value_name = "SECONDS", conflicts_with = "image_file", value_parser = clap::value_parser!(u64).range(1..))]
    max_silent_time: Option<u64>,
    /// A setting of nix.conf for this build; may be repeated
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], conflicts_with = "image_file")]
    option: Vec<String>,
}

impl NixOptions {
    /// What the image is made from, for the library.
    pub(crate) fn source(&self, source: &Source) -> Result<ImageSource, Failure> {
        let nix = |installable: Installable| Ok(self.arguments(installable).into());
        if let Some(image) = &source.image {
            return match ImageSource::parse(image, Path::new("")) {
                ImageSource::Nix(installable) => nix(installable),
                file => match self.given() {
                    Some(option) => Err(Failure::Usage(format!(
                        "{image} is taken for a disk image file, and {option} is for what Nix builds"
                    ))),
                    None => Ok(file),
                },
            };
        }
        if let Some(file) = &source.image_nix {
            return nix(Installable::file(file));
        }
        if let Some(expression) = &source.expr {
            return nix(Installable::expr(expression));
        }
        match (&source.flake, &source.store_path, &source.image_file) {
            (Some(reference), ..) => Ok(ImageSource::flake(reference)),
            (None, Some(path), _) => Ok(ImageSource::store_path(path)),
            (None, None, Some(file)) => Ok(ImageSource::file(file)),
            (None, None, None) => Err(Failure::Usage(
                "nothing was said to make the image from: name it (.#HOST, FILE.nix, a store path, a disk image file), or pass -i FILE.nix, -E EXPR, --flake .#HOST, --store-path PATH or --image-file FILE".to_owned(),
            )),
        }
    }

    /// An option that means something for Nix only.
    fn given(&self) -> Option<&'static str> {
        [
            ("--attr", self.attr.is_some()),
            ("--include", !self.include.is_empty()),
            ("--arg", !self.arg.is_empty()),
            ("--argstr", !self.argstr.is_empty()),
            ("--out-link", self.out_link.is_some()),
            ("--max-silent-time", self.max_silent_time.is_some()),
            ("--option", !self.option.is_empty()),
        ]
        .into_iter()
        .find_map(|(name, is_given)| is_given.then_some(name))
    }

    fn arguments(&self, mut installable: Installable) -> Installable {
        if let Some(attr) = &self.attr {
            installable = installable.attr(attr);
        }
        for path in &self.include {
            installable = installable.include(path);
        }
        for (name, expression) in pairs(&self.arg) {
            installable = installable.arg(name, expression);
        }
        for (name, value) in pairs(&self.argstr) {
            installable = installable.argstr(name, value);
        }
        installable
    }

    /// How Nix is run, for the library.
    pub(crate) fn nix(&self) -> Nix {
        let mut nix = Nix::new();
        if let Some(link) = &self.out_link {
            nix = nix.out_link(link);
        }
        if let Some(seconds) = self.max_silent_time {
            nix = nix.max_silent_time(Duration::from_secs(seconds));
        }
        for (name, value) in pairs(&self.option) {
            nix = nix.setting(name, value);
        }
        nix
    }
}

/// Clap hands out the values of a repeated two-word option in one row.
fn pairs(words: &[String]) -> impl Iterator<Item = (&str, &str)> {
    words
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[name, value]| (name.as_str(), value.as_str()))
}
