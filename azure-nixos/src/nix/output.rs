//! Finds the disk image in the output of a build. Blocking; called on a blocking thread.
//!
//! What the file is called changes with every NixOS release, so it is looked for. That it is a
//! disk image, and a good one, is for `disk` to say.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

const IMAGES: [&str; 5] = ["vhd", "vhdx", "raw", "img", "qcow2"];
const COMPRESSED: [&str; 3] = ["zst", "gz", "xz"];
/// Directories below the output. Image builders use none or one.
const DEPTH: usize = 6;
/// Files that are looked at; a whole system as output has hundreds of thousands.
const ENTRIES: usize = 20_000;
/// Names in a message.
const LISTED: usize = 12;

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// The image.
    Found(PathBuf),
    /// More than one; which one is for somebody else to say.
    Several(Vec<PathBuf>),
}

/// The image in `root`: itself when it is a file or a link to one, else the only file in it whose
/// name ends like a disk image's.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none; the message lists what there is.
pub(super) fn find_image(root: &Path) -> Result<Search> {
    let data = fs::metadata(root).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound && root.is_symlink() {
            return Error::new(
                ErrorKind::NotFound,
                format!(
                    "{} is a link to something that does not exist",
                    root.display()
                ),
            );
        }
        Error::io("read the output of the build", root, error)
    })?;
    if data.is_file() {
        return Ok(Search::Found(root.to_owned()));
    }
    let mut walk = Walk::default();
    walk.directory(root, 0)?;
    walk.images.sort();
    match walk.images.len() {
        1 => Ok(Search::Found(walk.images.swap_remove(0))),
        0 => Err(none(root, walk)),
        _ => Ok(Search::Several(walk.images)),
    }
}

/// The image of a name that the build offered, if it is there and inside.
pub(super) fn offered(root: &Path, name: &str) -> Option<PathBuf> {
    let inside = Path::new(name)
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    let path = root.join(name);
    (inside && path.is_file()).then_some(path)
}

/// The error for several images.
pub(super) fn several(root: &Path, images: &[PathBuf]) -> Error {
    Error::new(
        ErrorKind::Ambiguous,
        format!(
            "there are {} disk images in {}: {}",
            images.len(),
            root.display(),
            list(root, images)
        ),
    )
    .with_hint("upload the right one by its path in the store")
}

fn none(root: &Path, walk: Walk) -> Error {
    let mut others = walk.others;
    others.sort();
    let what = if others.is_empty() {
        "it is empty".to_owned()
    } else {
        let more = if walk.stopped { ", and more" } else { "" };
        format!("it has {}{more}", list(root, &others))
    };
    Error::new(
        ErrorKind::NotFound,
        format!("there is no disk image in {}: {what}", root.display()),
    )
    .with_hint("build an image and not a system: config.system.build.images.azure, or config.system.build.azureImage; names end in .vhd, .vhdx, .raw, .img or .qcow2, and may be compressed (.zst, .gz, .xz)")
}

fn list(root: &Path, paths: &[PathBuf]) -> String {
    let mut names: Vec<_> = paths
        .iter()
        .take(LISTED)
        .map(|path| {
            path.strip_prefix(root)
                .unwrap_or(path)
                .display()
                .to_string()
        })
        .collect();
    if paths.len() > LISTED {
        names.push(format!("and {} more", paths.len() - LISTED));
    }
    names.join(", ")
}

#[derive(Default)]
struct Walk {
    /// Directories on the way here or seen before: links may lead in circles.
    seen: HashSet<(u64, u64)>,
    /// Images seen, so that a link beside its target is not a second image.
    files: HashSet<(u64, u64)>,
    images: Vec<PathBuf>,
    others: Vec<PathBuf>,
    entries: usize,
    stopped: bool,
}

impl Walk {
    fn directory(&mut self, directory: &Path, depth: usize) -> Result<()> {
        let data = fs::metadata(directory).map_err(|error| Error::io("read", directory, error))?;
        if !self.seen.insert((data.dev(), data.ino())) {
            return Ok(());
        }
        let mut entries = fs::read_dir(directory)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(|error| Error::io("list", directory, error))?;
        // The order of a directory is that of its file system; the answer must not be.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            self.entries += 1;
            if self.entries > ENTRIES {
                self.stopped = true;
                return Ok(());
            }
            let path = entry.path();
            // A link that leads nowhere, or to itself, is something that is there and no image.
            let Ok(data) = fs::metadata(&path) else {
                self.other(path);
                continue;
            };
            if data.is_dir() {
                if depth < DEPTH {
                    self.directory(&path, depth + 1)?;
                } else {
                    self.stopped = true;
                }
            } else if data.is_file() && is_image(&path) {
                if self.files.insert((data.dev(), data.ino())) {
                    self.images.push(path);
                }
            } else {
                self.other(path);
            }
        }
        Ok(())
    }

    fn other(&mut self, path: PathBuf) {
        if self.others.len() < LISTED * 2 {
            self.others.push(path);
        } else {
            self.stopped = true;
        }
    }
}

fn is_image(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    let ends = |name: &str, ends: &[&str]| {
        name.rsplit_once('.')
            .is_some_and(|(stem, end)| !stem.is_empty() && ends.contains(&end))
    };
    match name.rsplit_once('.') {
        Some((stem, end)) if COMPRESSED.contains(&end) => ends(stem, &IMAGES),
        _ => ends(&name, &IMAGES),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
        }
        root
    }

    #[test]
    fn names_of_images() {
        for name in [
            "a.vhd",
            "A.VHD",
            "a.b.vhdx",
            "a.raw",
            "a.img",
            "a.qcow2",
            "a.vhd.zst",
            "a.raw.gz",
            "a.img.xz",
        ] {
            assert!(is_image(Path::new(name)), "{name}");
        }
        for name in [
            "vhd",
            ".vhd",
            "a.iso",
            "a.gz",
            "a.tar.gz",
            "a.vhd.bz2",
            ".vhd.gz",
            "a.vhd.txt",
        ] {
            assert!(!is_image(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn the_only_candidate_is_found() {
        let root = tree(&[
            "nix-support/hydra-build-products",
            "images/nixos.vhd",
            "README",
        ]);
        let found = find_image(root.path()).unwrap();
        assert_eq!(found, Search::Found(root.path().join("images/nixos.vhd")));
    }

    #[test]
    fn the_output_may_be_the_image() {
        let root = tree(&["image-without-a-suffix"]);
        let file = root.path().join("image-without-a-suffix");
        assert_eq!(find_image(&file).unwrap(), Search::Found(file.clone()));
        let link = root.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(find_image(&link).unwrap(), Search::Found(link));
    }

    #[test]
    fn circles_end_and_a_link_is_not_a_second_image() {
        let root = tree(&["a/disk.vhd"]);
        symlink(root.path(), root.path().join("a/up")).unwrap();
        symlink("self", root.path().join("self")).unwrap();
        symlink("nowhere", root.path().join("gone.vhd")).unwrap();
        symlink("a/disk.vhd", root.path().join("z.vhd")).unwrap();
        let found = find_image(root.path()).unwrap();
        assert_eq!(found, Search::Found(root.path().join("a/disk.vhd")));
    }

    #[test]
    fn several_are_listed() {
        let root = tree(&["a.vhd", "b/c.raw.zst", "readme"]);
        let Search::Several(images) = find_image(root.path()).unwrap() else {
            panic!("one image of two");
        };
        let error = several(root.path(), &images);
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert!(
            error.to_string().ends_with(": a.vhd, b/c.raw.zst"),
            "{error}"
        );
    }

    #[test]
    fn none_lists_what_there_is() {
        let root = tree(&["bin/hello", "share/doc"]);
        let error = find_image(root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.to_string().ends_with("it has bin/hello, share/doc"),
            "{error}"
        );
        let root = tree(&[]);
        let error = find_image(root.path()).unwrap_err();
        assert!(error.to_string().ends_with("it is empty"), "{error}");
        let error = find_image(&root.path().join("gone")).unwrap_err();
        assert!(error.is_not_found());
    }

    #[test]
    fn an_offered_name_stays_inside() {
        let root = tree(&["a.vhd", "b.vhd"]);
        assert_eq!(
            offered(root.path(), "b.vhd"),
            Some(root.path().join("b.vhd"))
        );
        let inner = root.path().join("sub");
        fs::create_dir(&inner).unwrap();
        for name in ["../a.vhd", "/etc/passwd", "c.vhd", "", "."] {
            assert_eq!(offered(&inner, name), None, "{name}");
        }
    }
}
