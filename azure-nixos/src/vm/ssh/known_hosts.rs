//! The file of the host keys of machines, in the form of OpenSSH's `known_hosts`.

use std::collections::HashSet;
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
    let text = String::from_utf8_lossy(&text);
    let mut own = text
        .lines()
        .filter(|line| names(line.as_bytes()).any(|name| name == alias.as_bytes()))
        .peekable();
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
    let _alone = alone(directory).map_err(failed)?;
    let old = read(file)?;
    if let (_, Some(others)) = without(&old, &HashSet::from([alias])) {
        return replace(file, &[&others, lines.as_bytes()].concat()).map_err(failed);
    }
    // Nothing of what somebody else adds meanwhile is lost.
    let is_cut = !old.is_empty() && !old.ends_with(b"\n");
    let lines = if is_cut { format!("\n{lines}") } else { lines };
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(failed)
}

/// Takes the keys of machines that are gone out of the file, and says of how many lines; it need not
/// exist.
///
/// # Errors
/// When it can be neither read nor written.
pub(in crate::vm) fn forget(file: &Path, aliases: &HashSet<&str>) -> Result<usize> {
    let failed = |error| Error::io("take host keys out of", file, error);
    if aliases.is_empty() || without(&read(file)?, aliases).1.is_none() {
        return Ok(0);
    }
    let directory = file.parent().unwrap_or(Path::new("/"));
    let _alone = alone(directory).map_err(failed)?;
    match without(&read(file)?, aliases) {
        (taken, Some(others)) => replace(file, &others).map(|()| taken).map_err(failed),
        (_, None) => Ok(0),
    }
}

/// What is left of the text without these names, if they are in it, and from how many lines they were
/// taken. A line that has other names too is theirs. Everything else stays as it is, byte by byte.
fn without(text: &[u8], aliases: &HashSet<&str>) -> (usize, Option<Vec<u8>>) {
    let is_one = |name: &[u8]| std::str::from_utf8(name).is_ok_and(|name| aliases.contains(name));
    let mut taken = 0;
    let mut left = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if !names(line).any(is_one) {
            left.extend_from_slice(line);
            continue;
        }
        taken += 1;
        let others: Vec<&[u8]> = names(line).filter(|name| !is_one(name)).collect();
        if !others.is_empty() {
            let line = line.trim_ascii_start();
            let keys = line.iter().position(u8::is_ascii_whitespace);
            left.extend(others.join(&b','));
            left.extend_from_slice(&line[keys.unwrap_or(line.len())..]);
        }
    }
    (taken, (taken > 0).then_some(left))
}

/// The names that a line is about. Of one with a marker (`@revoked`) that is no machine's.
fn names(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut words = line.split(u8::is_ascii_whitespace);
    let first = words.find(|word| !word.is_empty()).unwrap_or_default();
    first.split(|byte| *byte == b',')
}

/// Waits until nobody else of us changes the files of a directory, where its file system can say so: what
/// is read, changed and put back would else lose what another did meanwhile.
fn alone(directory: &Path) -> io::Result<fs::File> {
    let held = fs::File::open(directory)?;
    match held.lock() {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(held),
    }
}

/// Puts another text in the place of the file, in one step. It keeps who may read it, and what a link
/// leads to stays where it is.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let file = fs::canonicalize(file)?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    let mut new = tempfile::Builder::new()
        .prefix(".known_hosts.")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(file.parent().unwrap_or(Path::new("/")))?;
    new.write_all(text)?;
    // What the process' umask would take away is given all the same.
    new.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    new.persist(&file)?;
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    match fs::read(file) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("read the host keys", file, error)),
    }
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

    #[test]
    fn what_is_forgotten_is_one_machines_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("known_hosts");
        let taken = |file: &Path, aliases: &[&str]| {
            forget(file, &aliases.iter().copied().collect()).unwrap()
        };
        assert_eq!(taken(&file, &["azure-nixos-7"]), 0);
        assert!(!file.exists());

        let before = b"# mine\n\n\
            azure-nixos-7 ssh-ed25519 AAAA serial-log\r\n\
            azure-nixos-77 ssh-ed25519 BBBB\n\
            @revoked azure-nixos-7 ssh-ed25519 CCCC\n\
            github.com,azure-nixos-7 ssh-ed25519 DDDD azure-nixos-7\n\
            #azure-nixos-7 no more\n\
            caf\xe9 ssh-rsa EEEE\n\
            azure-nixos-8 ssh-rsa FFFF\n\
            azure-nixos-7 ssh-rsa GGGG";
        let after = b"# mine\n\n\
            azure-nixos-77 ssh-ed25519 BBBB\n\
            @revoked azure-nixos-7 ssh-ed25519 CCCC\n\
            github.com ssh-ed25519 DDDD azure-nixos-7\n\
            #azure-nixos-7 no more\n\
            caf\xe9 ssh-rsa EEEE\n";
        let real = place.path().join("real/hosts");
        fs::create_dir(place.path().join("real")).unwrap();
        fs::write(&real, before).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&real, &file).unwrap();
        assert_eq!(taken(&file, &["azure-nixos-9"]), 0);
        assert_eq!(fs::read(&real).unwrap(), before);
        assert_eq!(taken(&file, &["azure-nixos-7", "azure-nixos-8"]), 4);
        assert_eq!(fs::read(&file).unwrap(), after);
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        let mode = fs::metadata(&real).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(place.path().join("real")).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_lost_when_many_change_it() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("known_hosts");
        let alias = |kind: &str, number: u32| format!("azure-nixos-{kind}{number}");
        let key = ["ssh-ed25519 AAAA".to_owned()];
        for number in 0..16 {
            remember(&file, &alias("old", number), &key).unwrap();
        }
        std::thread::scope(|scope| {
            for number in 0..16 {
                let (file, key) = (&file, &key);
                scope.spawn(move || remember(file, &alias("new", number), key).unwrap());
                scope.spawn(move || {
                    let old = alias("old", number);
                    assert_eq!(forget(file, &HashSet::from([old.as_str()])).unwrap(), 1);
                });
            }
        });
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("-old") && text.lines().count() == 16,
            "{text}"
        );
    }
}
