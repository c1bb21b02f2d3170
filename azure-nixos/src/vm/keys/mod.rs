//! SSH keys: those that the caller has, or a new pair for the machine.

mod agent;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use super::provisioning::is_pipe;
use crate::{Error, ErrorKind, Result};

/// The shortest RSA key that Azure takes, in bits.
const SHORTEST_RSA: usize = 2048;

/// The longest file that is looked at for a public key.
const LARGEST_KEY_FILE: u64 = 64 * 1024;

/// A key that may log into the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshKey {
    /// A file with one public key, in the form of `authorized_keys`.
    File(PathBuf),
    /// A public key itself: `ssh-ed25519 AAAA… comment`.
    Text(String),
    /// All keys of the agent at this socket that Azure takes.
    Agent(PathBuf),
}

impl SshKey {
    /// The key in a file; a leading `~/` is the home directory.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        match (path.strip_prefix("~"), home()) {
            (Ok(rest), Some(home)) => Self::File(home.join(rest)),
            _ => Self::File(path),
        }
    }

    /// A key as text.
    #[must_use]
    pub fn text(key: impl Into<String>) -> Self {
        Self::Text(key.into())
    }

    /// The keys of the agent that `SSH_AUTH_SOCK` leads to: those that Azure takes, RSA and Ed25519.
    /// That there is an agent, and a key in it, is looked at when the machine is checked.
    #[must_use]
    pub fn agent() -> Self {
        Self::Agent(std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default().into())
    }

    /// A key that is read from anywhere, standard input for one.
    ///
    /// It blocks until the end of what is read; at most 64 KiB are.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]. Whether it is a key is looked at when the machine is checked.
    pub fn from_reader(reader: impl std::io::Read, what: &str) -> Result<Self> {
        let mut text = Vec::new();
        reader
            .take(LARGEST_KEY_FILE + 1)
            .read_to_end(&mut text)
            .map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    format!("cannot read the SSH key from {what}"),
                )
                .with_source(error)
            })?;
        if text.len() as u64 > LARGEST_KEY_FILE {
            return Err(not_a_key(what));
        }
        Ok(Self::Text(String::from_utf8_lossy(&text).into_owned()))
    }

    /// The keys, one a line, checked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is not a public key that Azure takes (RSA or Ed25519);
    /// a private key is told as such and not repeated.
    pub(crate) fn lines(&self) -> Result<Vec<String>> {
        match self {
            Self::Agent(socket) => agent::keys(socket),
            one => one.line().map(|line| vec![line]),
        }
    }

    /// Whether reading it twice gives the same, and bothers nobody.
    pub(crate) fn can_be_read_again(&self) -> bool {
        match self {
            Self::Text(_) => true,
            Self::File(path) => !is_pipe(path),
            Self::Agent(_) => false,
        }
    }

    fn line(&self) -> Result<String> {
        match self {
            Self::Agent(_) => Err(not_a_key("the SSH agent")),
            Self::Text(text) => parse(text, "the SSH key"),
            Self::File(path) => {
                let what = format!("the SSH key file {}", path.display());
                let failed = |error| Error::io("read the SSH key file", path, error);
                let mut text = Vec::new();
                // The length of a file need not be known beforehand: it may be a pipe.
                fs::File::open(path)
                    .map_err(failed)?
                    .take(LARGEST_KEY_FILE + 1)
                    .read_to_end(&mut text)
                    .map_err(failed)?;
                if text.len() as u64 > LARGEST_KEY_FILE {
                    return Err(not_a_key(&what));
                }
                parse(&String::from_utf8_lossy(&text), &what)
            }
        }
    }
}

/// The length of the modulus.
fn rsa_bits(key: &PublicKey) -> Option<usize> {
    let modulus = key.key_data().rsa()?.n.as_positive_bytes()?;
    let first = modulus.first()?;
    Some(modulus.len() * 8 - first.leading_zeros() as usize)
}

fn not_a_key(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{what} does not hold a public key"),
    )
    .with_hint("pass one line as in ~/.ssh/id_ed25519.pub: ssh-ed25519 AAAA… comment")
}

fn parse(text: &str, what: &str) -> Result<String> {
    if text.contains("PRIVATE KEY") {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{what} holds a private key"),
        )
        .with_hint("pass the file that ends in .pub; nobody else should see this one"));
    }
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or_else(|| not_a_key(what))?;
    let key = PublicKey::from_openssh(line).map_err(|_| not_a_key(what))?;
    match lines.next().map(PublicKey::from_openssh) {
        None => {}
        Some(Err(_)) => return Err(not_a_key(what)),
        Some(Ok(_)) => {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{what} holds more than one key"),
            )
            .with_hint("pass a file for each: --ssh-key may be repeated"));
        }
    }
    match key.algorithm() {
        Algorithm::Ed25519 => Ok(line.to_owned()),
        Algorithm::Rsa { .. } => match rsa_bits(&key) {
            Some(bits) if bits < SHORTEST_RSA => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{what} holds an RSA key of {bits} bits, which Azure does not take"),
            )
            .with_hint("Azure takes RSA keys of 2048 bits and more, and Ed25519 keys: ssh-keygen -t ed25519")),
            _ => Ok(line.to_owned()),
        },
        other => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{what} holds a key of the kind {other}, which Azure does not take"),
        )
        .with_hint("Azure takes RSA and Ed25519 keys: ssh-keygen -t ed25519")),
    }
}

/// A pair made for one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPair {
    /// Where the private key is, readable by its owner alone.
    pub(crate) private: PathBuf,
    /// The public key as one line.
    pub(crate) public: String,
}

/// Makes a new Ed25519 pair `DIRECTORY/NAME` and `DIRECTORY/NAME.pub`. A file that exists is never
/// replaced; a number is put behind the name instead.
///
/// # Errors
/// When the files cannot be written.
pub(crate) fn generate(directory: &Path, name: &str, comment: &str) -> Result<KeyPair> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Error::io("make the directory", directory, error))?;
    let key = new_key(comment)?;
    let private = key.to_openssh(LineEnding::LF).map_err(defect)?;
    let public = key.public_key().to_openssh().map_err(defect)?;
    for attempt in 1.. {
        let file_name = match attempt {
            1 => name.to_owned(),
            more => format!("{name}-{more}"),
        };
        let path = directory.join(&file_name);
        let public_path = directory.join(format!("{file_name}.pub"));
        let written = create(&path, 0o600, private.as_bytes()).and_then(|()| {
            // Half a pair is of no use, whoever made it.
            create(&public_path, 0o644, format!("{public}\n").as_bytes())
                .inspect_err(|_| drop(fs::remove_file(&path)))
        });
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::io("write the SSH key", &path, error)),
            Ok(()) => {}
        }
        return Ok(KeyPair {
            private: path,
            public,
        });
    }
    unreachable!("the loop ends by returning")
}

/// A public key of which nobody has the private half: Azure makes no machine without a key, and there
/// are images that need none.
///
/// # Errors
/// When there are no random numbers.
pub(crate) fn throwaway(comment: &str) -> Result<String> {
    new_key(comment)?.public_key().to_openssh().map_err(defect)
}

fn new_key(comment: &str) -> Result<PrivateKey> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(defect)?;
    key.set_comment(comment);
    Ok(key)
}

fn defect(error: ssh_key::Error) -> Error {
    Error::new(ErrorKind::Internal, "cannot make an SSH key").with_source(error)
}

/// Removes a pair that was made for a machine that there is not.
///
/// # Errors
/// When a file cannot be removed; that it does not exist is none.
pub(crate) fn remove(private: &Path) -> Result<()> {
    let mut public = private.as_os_str().to_owned();
    public.push(".pub");
    for path in [private, Path::new(&public)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes a file that must not exist yet.
fn create(path: &Path, mode: u32, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        // A full disk leaves a part.
        .inspect_err(|_| drop(fs::remove_file(path)))
}

/// `~/.ssh/azure-nixos`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when there is no home directory.
pub(crate) fn default_directory() -> Result<PathBuf> {
    home()
        .map(|home| home.join(".ssh").join("azure-nixos"))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "there is no home directory to keep a new SSH key in",
            )
            .with_hint("set HOME, or pass a key of yours with --ssh-key")
        })
}

/// The home directory of whoever runs this.
pub(super) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use base64::Engine as _;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me@host";

    #[test]
    fn a_pair_is_made_once_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("a/b");
        let first = generate(&inner, "web", "web").unwrap();
        let second = generate(&inner, "web", "web").unwrap();
        assert_ne!(first.private, second.private);
        assert_ne!(first.public, second.public);
        let mode = fs::metadata(&first.private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::metadata(&inner).unwrap().permissions().mode() & 0o777,
            0o700
        );
        // The public half of an older pair is as much a file that exists.
        fs::write(inner.join("mail.pub"), "mine").unwrap();
        let third = generate(&inner, "mail", "mail").unwrap();
        assert_eq!(third.private, inner.join("mail-2"));
        assert_eq!(fs::read(inner.join("mail.pub")).unwrap(), b"mine");
        assert!(!inner.join("mail").exists());
        let read = PrivateKey::read_openssh_file(&first.private).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), first.public);
        SshKey::file(inner.join("web.pub")).line().unwrap();
    }

    #[test]
    fn a_key_is_read_from_anywhere_and_not_for_ever() {
        let key = SshKey::from_reader(ED25519.as_bytes(), "standard input").unwrap();
        assert_eq!(key.lines().unwrap(), [ED25519]);
        let error = SshKey::from_reader(std::io::repeat(b'a'), "standard input").unwrap_err();
        assert!(error.to_string().contains("standard input"), "{error}");
        let thrown = throwaway("web").unwrap();
        assert_eq!(SshKey::text(&thrown).line().unwrap(), thrown);
        assert_ne!(throwaway("web").unwrap(), thrown);
    }

    #[test]
    fn only_a_public_key_is_taken() {
        assert_eq!(
            SshKey::text(format!("\n{ED25519}\n")).line().unwrap(),
            ED25519
        );
        for bad in [
            "",
            "ssh-ed25519 AAAA",
            "hello",
            &format!("{ED25519}\nhello"),
        ] {
            let error = SshKey::text(bad).line().unwrap_err();
            assert!(error.to_string().contains("not hold a public key"), "{bad}");
        }
        let two = SshKey::text(format!("{ED25519}\n{ED25519}")).line();
        assert!(two.unwrap_err().to_string().contains("more than one key"));
        let directory = tempfile::tempdir().unwrap();
        let pair = generate(directory.path(), "web", "c").unwrap();
        let error = SshKey::file(&pair.private).line().unwrap_err();
        assert!(error.to_string().contains("holds a private key"), "{error}");
        let secret = fs::read_to_string(&pair.private).unwrap();
        assert!(!error.report().contains(secret.lines().nth(1).unwrap()));
        assert!(SshKey::file(directory.path()).line().is_err());
        remove(&pair.private).unwrap();
        remove(&pair.private).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let rsa = |modulus: &[u8]| {
            let mut blob = Vec::new();
            for part in [&b"ssh-rsa"[..], &[1, 0, 1], modulus] {
                blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
                blob.extend(part);
            }
            let blob = base64::engine::general_purpose::STANDARD.encode(blob);
            SshKey::text(format!("ssh-rsa {blob} me")).line()
        };
        let mut modulus = vec![0xff; 257];
        modulus[0] = 0;
        rsa(&modulus).unwrap();
        let short = rsa(&modulus[..129]).unwrap_err();
        assert!(short.to_string().contains("1024 bits"), "{short}");
        assert!(
            SshKey::file("/nowhere/x.pub")
                .line()
                .unwrap_err()
                .is_not_found()
        );
    }
}
