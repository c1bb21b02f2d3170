//! A text into a file, in one step.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::{Error, Result};

/// What others may do with a new file, before the mask of the process.
const MODE: u32 = 0o666;

pub(super) fn replace(file: &Path, text: &str) -> Result<bool> {
    let failed = |error| Error::io("write", file, error);
    // A link stays a link.
    let target = match fs::canonicalize(file) {
        Ok(target) => target,
        Err(error) if error.kind() == ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let mode = match fs::metadata(&target) {
        Ok(now) if !now.is_file() => {
            return Err(failed(std::io::Error::other("it is no regular file")));
        }
        Ok(now) => Some(now.permissions()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if mode.is_some() && fs::read(&target).is_ok_and(|now| now == text.as_bytes()) {
        return Ok(false);
    }
    let directory = match target.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let mut new = tempfile::Builder::new()
        .prefix(".azure-nixos-")
        .permissions(fs::Permissions::from_mode(MODE))
        .tempfile_in(directory)
        .map_err(failed)?;
    if let Some(mode) = mode {
        new.as_file().set_permissions(mode).map_err(failed)?;
    }
    new.write_all(text.as_bytes())
        .and_then(|()| new.as_file().sync_all())
        .map_err(failed)?;
    new.persist(&target).map_err(|error| failed(error.error))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_another_text() {
        let place = tempfile::tempdir().unwrap();
        let (file, link) = (place.path().join("hosts"), place.path().join("link"));
        assert!(replace(&file, "a\n").unwrap());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("hosts", &link).unwrap();
        let before = fs::metadata(&file).unwrap();
        assert!(!replace(&link, "a\n").unwrap());
        assert!(replace(&link, "b\n").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"b\n");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions(),
            before.permissions()
        );
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // Nothing is left beside it, also when it cannot be done.
        let error = replace(place.path(), "c").unwrap_err();
        assert!(error.to_string().contains("write"), "{error}");
        replace(&place.path().join("none/hosts"), "c").unwrap_err();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }
}
