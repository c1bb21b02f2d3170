//! The keys of an SSH agent: one question of its protocol
//! (draft-ietf-sshm-ssh-agent, "requesting a list of keys").

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ssh_key::{Algorithm, PublicKey};

use super::parse;
use crate::{Error, ErrorKind, Result};

/// Numbers of the protocol's messages.
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

/// The longest answer that is read: the limit of OpenSSH's own.
const LARGEST_ANSWER: u32 = 256 * 1024;

/// An agent answers this question at once; one that asks its user does so only when a key is used.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys that Azure takes, one a line.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when there is no agent, or no such key in it.
pub(super) fn keys(socket: &Path) -> Result<Vec<String>> {
    if socket.as_os_str().is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "there is no SSH agent: SSH_AUTH_SOCK is not set",
        )
        .with_hint("start one (`eval \"$(ssh-agent)\"; ssh-add`), or pass a file"));
    }
    let answer = ask(socket).map_err(|error| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the SSH agent at {} does not answer", socket.display()),
        )
        .with_hint("`ssh-add -L` shows its keys; pass a file instead if it is gone")
        .with_source(error)
    })?;
    let found = read(&answer).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("what answers at {} is not an SSH agent", socket.display()),
        )
        .with_hint("set SSH_AUTH_SOCK to the socket of one, or pass a file")
    })?;
    let all = found.len();
    let good: Vec<String> = found
        .into_iter()
        .filter_map(|(blob, comment)| line(blob, comment))
        .collect();
    if good.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            match all {
                0 => "the SSH agent has no keys".to_owned(),
                _ => format!("none of the {all} keys of the SSH agent is one that Azure takes"),
            },
        )
        .with_hint("Azure takes RSA and Ed25519 keys: ssh-keygen -t ed25519, then ssh-add"));
    }
    Ok(good)
}

/// The answer without its length.
fn ask(socket: &Path) -> std::io::Result<Vec<u8>> {
    let mut agent = UnixStream::connect(socket)?;
    agent.set_read_timeout(Some(PATIENCE))?;
    agent.set_write_timeout(Some(PATIENCE))?;
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES])?;
    let mut length = [0; 4];
    agent.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > LARGEST_ANSWER {
        return Err(std::io::Error::other("its answer is too long"));
    }
    let mut answer = Vec::new();
    agent.take(u64::from(length)).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Keys with their comments.
fn read(answer: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (kind, mut rest) = answer.split_first()?;
    if *kind != IDENTITIES_ANSWER {
        return None;
    }
    let count = number(&mut rest)?;
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push((text(&mut rest)?, text(&mut rest)?));
    }
    Some(keys)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

/// A line of `authorized_keys`, if Azure takes the key.
fn line(blob: &[u8], comment: &[u8]) -> Option<String> {
    let key = PublicKey::from_bytes(blob).ok()?;
    if !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Rsa { .. }) {
        return None;
    }
    let comment: String = String::from_utf8_lossy(comment)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let line = format!("{} {}", key.to_openssh().ok()?.trim(), comment.trim());
    parse(line.trim(), "the SSH agent").ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::vm::keys::throwaway;

    /// Serves one answer, whatever is asked.
    fn serve(answer: Vec<u8>) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 5];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(question, [0, 0, 0, 1, REQUEST_IDENTITIES]);
            stream.write_all(&answer).unwrap();
        });
        (directory, socket)
    }

    fn text_of(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    }

    fn answer(keys: &[(Vec<u8>, &str)]) -> Vec<u8> {
        let mut body = vec![IDENTITIES_ANSWER];
        body.extend(u32::try_from(keys.len()).unwrap().to_be_bytes());
        for (blob, comment) in keys {
            body.extend(text_of(blob));
            body.extend(text_of(comment.as_bytes()));
        }
        text_of(&body)
    }

    fn blob(key: &str) -> Vec<u8> {
        PublicKey::from_openssh(key).unwrap().to_bytes().unwrap()
    }

    #[test]
    fn the_keys_that_azure_takes_are_taken() {
        let (one, two) = (throwaway("").unwrap(), throwaway("").unwrap());
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";
        let keys_in = [
            (blob(&one), "me@here\nssh-ed25519 more"),
            (blob(ecdsa), "not this"),
            (blob(&two), ""),
            (b"garbage".to_vec(), "nor this"),
        ];
        let (_directory, socket) = serve(answer(&keys_in));
        let found = keys(&socket).unwrap();
        assert_eq!(
            found,
            [
                format!("{} me@here ssh-ed25519 more", one.trim()),
                two.trim().to_owned()
            ]
        );
    }

    #[test]
    fn an_agent_without_a_key_or_an_answer_is_said_to_be_so() {
        let short = answer(&[(b"x".to_vec(), "")]);
        for (answer, part) in [
            (answer(&[]), "has no keys"),
            (answer(&[(b"garbage".to_vec(), "")]), "none of the 1 keys"),
            (text_of(&[5]), "not an SSH agent"),
            (short[..8].to_vec(), "not an SSH agent"),
            (u32::MAX.to_be_bytes().to_vec(), "does not answer"),
            (Vec::new(), "does not answer"),
        ] {
            let (_directory, socket) = serve(answer);
            let error = keys(&socket).unwrap_err();
            assert!(error.to_string().contains(part), "{part}: {error}");
            assert!(error.hint().is_some());
        }
        assert!(keys(Path::new("/nowhere")).is_err());
        let unset = keys(Path::new("")).unwrap_err();
        assert!(unset.to_string().contains("SSH_AUTH_SOCK"), "{unset}");
    }
}
