//! [`HostKeys`]: the keys by which a machine shows that it is the one, as its serial console says them.
//!
//! The console is read through Azure, by a login that Azure knows, so nobody on the way can put keys of
//! their own there. That is better than to believe the first answer from the network.
//!
//! cloud-init prints whole keys in a block, and fingerprints in another; `ssh-keygen` prints fingerprints
//! where it makes keys. Other lines of the console may hold words of strangers, such as the names of users
//! that somebody tried at port 22: what is read has to stand alone on its line, in its block.

use ssh_key::{HashAlg, PublicKey};

/// The blocks of cloud-init.
const KEYS: &str = "SSH HOST KEY KEYS";
const FINGERPRINTS: &str = "SSH HOST KEY FINGERPRINTS";

/// What `ssh-keygen` says in the line before a fingerprint.
const MADE: &str = "The key fingerprint is:";

/// Names under which cloud-init logs.
const LOGS_AS: [&str; 3] = ["cloud-init", "ec2", "cloud-init-output"];

/// The longest line that is looked at: an RSA key of 16,384 bits has 2.8 KB.
const LONGEST_LINE: usize = 8 << 10;

/// The most keys of a block; machines have three.
const MOST: usize = 32;

/// The host keys of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostKeys {
    /// Whole keys without a comment, `ssh-ed25519 AAAA…`.
    pub(crate) keys: Vec<String>,
    /// As `ssh-keygen -l` has them: `SHA256:… (ED25519)`; the kind is left out where it was not said.
    pub(crate) fingerprints: Vec<String>,
}

impl HostKeys {
    /// Lines of a `known_hosts` file.
    pub(crate) fn known_hosts(&self, host: &str) -> Vec<String> {
        self.keys
            .iter()
            .map(|key| format!("{host} {key}"))
            .collect()
    }
}

/// Reads a log as it comes. Of a machine that started several times the last block counts.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    line: Vec<u8>,
    is_too_long: bool,
    open: Option<Block>,
    /// Whether the line before announced a fingerprint.
    is_announced: bool,
    keys: Vec<PublicKey>,
    fingerprints: Vec<String>,
    made: Vec<String>,
}

/// A block that has begun.
#[derive(Debug)]
enum Block {
    Keys(Vec<PublicKey>),
    Fingerprints(Vec<String>),
}

impl Reader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() < LONGEST_LINE => self.line.push(*byte),
                _ => self.is_too_long = true,
            }
        }
    }

    /// The log is another one from here on.
    pub(crate) fn start_again(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn finish(mut self) -> HostKeys {
        self.end_line();
        let mut found = HostKeys::default();
        for key in &self.keys {
            let name = key.algorithm().as_str().to_owned();
            let kind = name.split('-').find(|word| !matches!(*word, "ssh" | "sk"));
            let kind = kind.unwrap_or_default().to_ascii_uppercase();
            let fingerprint = key.fingerprint(HashAlg::Sha256);
            found.fingerprints.push(format!("{fingerprint} ({kind})"));
            let mut key = key.clone();
            key.set_comment("");
            found
                .keys
                .extend(key.to_openssh().map(|line| line.trim().to_owned()));
        }
        if found.fingerprints.is_empty() {
            found.fingerprints = self.fingerprints;
        }
        if found.fingerprints.is_empty() {
            found.fingerprints = self.made;
        }
        found
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_too_long) {
            return;
        }
        if let Ok(line) = std::str::from_utf8(&line)
            && !line.trim().is_empty()
        {
            self.read(line.trim());
        }
    }

    fn read(&mut self, line: &str) {
        let is_announced = std::mem::replace(&mut self.is_announced, line.ends_with(MADE));
        let said = said(line);
        if said.starts_with("-----") {
            match said.trim_matches('-').split_once(' ') {
                Some(("BEGIN", KEYS)) => self.open = Some(Block::Keys(Vec::new())),
                Some(("BEGIN", FINGERPRINTS)) => {
                    self.open = Some(Block::Fingerprints(Vec::new()));
                }
                Some(("END", KEYS | FINGERPRINTS)) => match self.open.take() {
                    Some(Block::Keys(keys)) if !keys.is_empty() => self.keys = keys,
                    Some(Block::Fingerprints(all)) if !all.is_empty() => self.fingerprints = all,
                    _ => {}
                },
                _ => {}
            }
            return;
        }
        match &mut self.open {
            Some(Block::Keys(keys)) if keys.len() < MOST => keys.extend(key(said)),
            Some(Block::Fingerprints(all)) if all.len() < MOST => all.extend(fingerprint(said)),
            Some(_) => {}
            None if is_announced && self.made.len() < MOST => {
                let made = fingerprint(last_words(line));
                self.made
                    .extend(made.filter(|one| !self.made.contains(one)));
            }
            None => {}
        }
    }
}

/// A line without the beginning that a log of cloud-init puts before it: a priority, times, the name of
/// the machine and then its own. What comes from another program keeps its beginning, and is then none of
/// what is looked for.
fn said(line: &str) -> &str {
    let Some((before, said)) = line.split_once(": ") else {
        return line;
    };
    let name = before.rsplit(' ').next().unwrap_or_default();
    let name = name.split('[').next().unwrap_or_default();
    if LOGS_AS.contains(&name) {
        said.trim()
    } else {
        line
    }
}

/// What follows the name of the program that said it: `[   8.1] sshd-keygen[512]: SHA256:…`.
fn last_words(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, said)| said).trim()
}

/// A whole key, with a comment of at most one word: `root@web-1`.
fn key(said: &str) -> Option<PublicKey> {
    if said.split_ascii_whitespace().count() > 3 {
        return None;
    }
    PublicKey::from_openssh(said).ok()
}

/// `256 SHA256:… root@web-1 (ED25519)`, or a part of it.
fn fingerprint(said: &str) -> Option<String> {
    let words: Vec<&str> = said.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("SHA256:"))?;
    let print = words[at];
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let digest = print.strip_prefix("SHA256:")?;
    let is_good = digest.len() == 43 && digest.chars().all(is_base64);
    if !is_good || at > 1 || words.len() > at + 3 {
        return None;
    }
    let kind = words.last().filter(|word| {
        let inner = word
            .strip_prefix('(')
            .and_then(|word| word.strip_suffix(')'));
        inner.is_some_and(|kind| kind.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    });
    Some(match kind {
        Some(kind) => format!("{print} {kind}"),
        None => print.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::keys::throwaway;

    fn read(log: &str) -> HostKeys {
        let mut reader = Reader::default();
        reader.push(log.as_bytes());
        reader.finish()
    }

    /// As cloud-init prints it, and another program meanwhile.
    fn log(keys: &[&str], before: &str) -> String {
        let mut log = String::from("[    0.000000] Linux version 6.12\r\n");
        log += &format!("{before}-----BEGIN SSH HOST KEY KEYS-----\r\n");
        for key in keys {
            log += &format!("{before}{key}\r\n[  20.1] systemd[1]: Started something.\r\n");
        }
        log += &format!("{before}-----END SSH HOST KEY KEYS-----\r\n\r\nweb-1 login: ");
        log
    }

    #[test]
    fn whole_keys_are_read_wherever_the_console_has_them() {
        let (one, two) = (throwaway("root@web-1").unwrap(), throwaway("").unwrap());
        let bare = |key: &str| {
            key.rsplit_once(" root")
                .map_or(key, |(key, _)| key)
                .trim()
                .to_owned()
        };
        for before in [
            "",
            "[   21.5] cloud-init[812]: ",
            "<14>Nov 26 13:19:42 cloud-init: ",
            "Nov 26 13:19:42 web-1 ec2: ",
        ] {
            let found = read(&log(&[&one, &two], before));
            assert_eq!(found.keys, [bare(&one), bare(&two)], "{before}");
            assert_eq!(found.fingerprints.len(), 2);
            assert!(found.fingerprints[0].ends_with(" (ED25519)"), "{found:?}");
        }
        let known = read(&log(&[&one], "")).known_hosts("20.1.2.3");
        assert_eq!(known, [format!("20.1.2.3 {}", bare(&one))]);
        // After a restart with other keys, in another piece of the log.
        let both = format!("{}{}", log(&[&one], ""), log(&[&two], ""));
        assert_eq!(read(&both).keys, [bare(&two)]);
        let mut byte_by_byte = Reader::default();
        for byte in both.as_bytes() {
            byte_by_byte.push(std::slice::from_ref(byte));
        }
        assert_eq!(byte_by_byte.finish(), read(&both));
    }

    #[test]
    fn what_strangers_make_a_machine_say_is_no_key() {
        let (mine, theirs) = (throwaway("").unwrap(), throwaway("").unwrap());
        let theirs = theirs.trim();
        let block = |line: &str| {
            format!(
                "-----BEGIN SSH HOST KEY KEYS-----\n{mine}\n{line}\n-----END SSH HOST KEY KEYS-----\n"
            )
        };
        for line in [
            format!("sshd[7]: Invalid user {theirs} from 192.0.2.1 port 4"),
            format!("sshd[7]: Invalid user cloud-init: {theirs} from 192.0.2.1 port 4"),
            format!("sshd[7]: Invalid user cloud-init: {theirs}"),
            format!("{theirs} from 192.0.2.1"),
            format!("x {theirs}"),
        ] {
            assert_eq!(read(&block(&line)).keys, [mine.trim()], "{line}");
            assert_eq!(read(&line), HostKeys::default(), "{line}");
        }
        let begun = format!(
            "sshd[7]: Invalid user -----BEGIN SSH HOST KEY KEYS-----\n{theirs}\n-----END SSH HOST KEY KEYS-----\n"
        );
        assert_eq!(read(&begun), HostKeys::default());
        // A block that has no end is not whole.
        let cut = format!("-----BEGIN SSH HOST KEY KEYS-----\n{theirs}\n");
        assert_eq!(read(&cut), HostKeys::default());
        let long = format!(
            "-----BEGIN SSH HOST KEY KEYS-----\n{theirs} {}\n-----END SSH HOST KEY KEYS-----\n",
            "x".repeat(1 << 20)
        );
        assert_eq!(read(&long), HostKeys::default());
    }

    #[test]
    fn fingerprints_are_better_than_nothing() {
        let print = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIzTMczvfUw0aD8";
        let block = format!(
            "<14>Nov 26 13:19:42 ec2: #####\n<14>Nov 26 13:19:42 ec2: -----BEGIN SSH HOST KEY FINGERPRINTS-----\n<14>Nov 26 13:19:42 ec2: 256 {print} root@web-1 (ED25519)\n<14>Nov 26 13:19:42 ec2: -----END SSH HOST KEY FINGERPRINTS-----\n"
        );
        let found = read(&block);
        assert_eq!(found.fingerprints, [format!("{print} (ED25519)")]);
        assert!(found.keys.is_empty());
        let made = format!(
            "[ 8.1] sshd-keygen[51]: The key fingerprint is:\n[ 8.1] sshd-keygen[51]: {print} root@web-1\n"
        );
        assert_eq!(read(&made).fingerprints, [print]);
        // The key of a user who logged in.
        let accepted = format!(
            "sshd[9]: Accepted publickey for ada from 192.0.2.1 port 4 ssh2: ED25519 {print}\n"
        );
        assert_eq!(read(&accepted), HostKeys::default());
        let whole = throwaway("").unwrap();
        let both = read(&format!("{block}{}", log(&[&whole], "")));
        assert_ne!(both.fingerprints, found.fingerprints);
        assert_eq!(both.keys.len(), 1);
    }
}
