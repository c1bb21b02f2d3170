//! The file of the host keys of machines, in the form of OpenSSH's `known_hosts`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::{Error, Result};

/// The comment of keys that come from a serial log. `ssh` adds those that it believed without one.
const FROM_LOG: &str = "serial-log";

/// What the file knows of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    /// Keys that the network said.
    Believed,
    /// Keys of the serial log.
    FromLog,
}

/// What the file knows under a name; it need not exist.
///
/// # Errors
/// When it cannot be read.
pub(super) fn known(file: &Path, alias: &str) -> Result<Known> {
    let text = read(file)?;
    let mut own = text.lines().filter(|line| is_of(line, alias)).peekable();
    Ok(if own.peek().is_none() {
        Known::Nothing
    } else if own.all(|line| line.ends_with(FROM_LOG)) {
        Known::FromLog
    } else {
        Known::Believed
    })
}

/// Puts the keys of a serial log into the file, in the place of what it had under the name.
///
/// # Errors
/// When it cannot be written.
pub(super) fn remember(file: &Path, alias: &str, keys: &[String]) -> Result<()> {
    let failed = |error| Error::io("write the host keys", file, error);
    let directory = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Error::io("make the directory", directory, error))?;
    let lines: String = keys
        .iter()
        .map(|key| format!("{alias} {key} {FROM_LOG}\n"))
        .collect();
    let old = read(file)?;
    if old.lines().any(|line| is_of(line, alias)) {
        let others: String = old
            .lines()
            .filter(|line| !is_of(line, alias))
            .map(|line| format!("{line}\n"))
            .collect();
        return replace(file, directory, &(others + &lines)).map_err(failed);
    }
    // Nothing of what somebody else adds meanwhile is lost.
    let is_cut = !old.is_empty() && !old.ends_with('\n');
    let lines = if is_cut { format!("\n{lines}") } else { lines };
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(failed)
}

fn replace(file: &Path, directory: &Path, text: &str) -> io::Result<()> {
    let mut new = tempfile::Builder::new()
        .prefix(".known_hosts.")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.persist(file)?;
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    match fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read the host keys", file, error)),
    }
}

fn is_of(line: &str, alias: &str) -> bool {
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    first.split(',').any(|name| name == alias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_counts_more_than_what_was_believed() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a/known_hosts");
        let keys = |text: &str| [format!("ssh-ed25519 {text}")];
        assert_eq!(known(&file, "web").unwrap(), Known::Nothing);
        remember(&file, "web", &keys("AAAA")).unwrap();
        assert_eq!(known(&file, "web").unwrap(), Known::FromLog);
        assert_eq!(known(&file, "we").unwrap(), Known::Nothing);

        // As ssh adds one; somebody's editor took the last end of a line away.
        let added = format!("{}db ssh-rsa BBBB", fs::read_to_string(&file).unwrap());
        fs::write(&file, added).unwrap();
        assert_eq!(known(&file, "db").unwrap(), Known::Believed);
        remember(&file, "new", &keys("CCCC")).unwrap();
        remember(&file, "db", &keys("DDDD")).unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "web ssh-ed25519 AAAA serial-log\nnew ssh-ed25519 CCCC serial-log\ndb ssh-ed25519 DDDD serial-log\n"
        );
        assert_eq!(known(&file, "db").unwrap(), Known::FromLog);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
