//! The link that keeps the garbage collector away from an output.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Error, ErrorKind, Result};

/// An out-link: either the user's, which stays, or one in a private directory, which goes.
#[derive(Debug)]
pub(super) struct OutLink {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl OutLink {
    /// Prepares a place for a link; Nix makes the link. Blocking.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when something that is not a link is in the way.
    pub(super) fn prepare(wanted: Option<&Path>, base: &Path) -> Result<Self> {
        if let Some(wanted) = wanted {
            let path = base.join(wanted);
            match path.symlink_metadata() {
                Ok(data) if !data.is_symlink() => {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        format!("the out-link {} exists and is not a link", path.display()),
                    )
                    .with_hint("name another one, or move it away"));
                }
                _ => {}
            }
            let parent = path.parent().unwrap_or(base);
            if !parent.is_dir() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "there is no directory {} for the out-link",
                        parent.display()
                    ),
                ));
            }
            return Ok(Self {
                path,
                temporary: None,
            });
        }
        // The directory is 0700, so that nobody else can put a link there first.
        let directory = tempfile::Builder::new()
            .prefix("azure-nixos-")
            .tempdir()
            .map_err(|error| Error::io("make a directory in", &std::env::temp_dir(), error))?;
        Ok(Self {
            path: directory.path().join("root"),
            temporary: Some(directory),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the link that leads to this output for the one that is meant: Nix names the links to outputs
    /// other than `out` after those, `result-doc`. Blocking.
    pub(super) fn lead_to(&mut self, output: &Path) {
        let leads = |path: &Path| std::fs::read_link(path).is_ok_and(|to| to == output);
        if leads(&self.path) {
            return;
        }
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return;
        };
        let mut start = name.to_os_string();
        start.push("-");
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let found = entries
            .filter(|entry| {
                let name = entry.file_name();
                name.as_encoded_bytes()
                    .starts_with(start.as_encoded_bytes())
            })
            .map(|entry| entry.path())
            .find(|path| leads(path));
        if let Some(found) = found {
            self.path = found;
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(directory) = &mut self.temporary {
            directory.disable_cleanup(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_link_goes_unless_it_is_kept() {
        let link = OutLink::prepare(None, Path::new("/")).unwrap();
        std::os::unix::fs::symlink("/nowhere", link.path()).unwrap();
        let path = link.path().to_owned();
        drop(link);
        assert!(path.symlink_metadata().is_err());
        assert!(!path.parent().unwrap().exists());

        let mut link = OutLink::prepare(None, Path::new("/")).unwrap();
        link.keep();
        let directory = link.path().parent().unwrap().to_owned();
        drop(link);
        assert!(directory.exists());
        std::fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn a_file_is_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("result"), "mine").unwrap();
        let error = OutLink::prepare(Some(Path::new("result")), root.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        OutLink::prepare(Some(Path::new("other")), root.path()).unwrap();
        let error = OutLink::prepare(Some(Path::new("no/other")), root.path()).unwrap_err();
        assert!(error.is_not_found());
    }
}
