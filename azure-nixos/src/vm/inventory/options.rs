//! What a tool that calls ssh has to give it, beside host, user and port.

use std::path::Path;

use super::Login;

/// Options of ssh as words, and what could not be said with them.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) words: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Options {
    /// The key and the host key.
    ///
    /// The tools give them to ssh as words, and to Nix as one text (`NIX_SSHOPTS`), which Nix takes apart
    /// at its spaces and, from 2.26 on, reads as a shell does. So a word is only what is one word to all
    /// of them.
    pub(super) fn new(login: &Login) -> Self {
        let mut options = Self::default();
        if let Some(key) = &login.private_key {
            match word(key) {
                Some(key) => {
                    options.push("IdentityFile", &key);
                    options.push("IdentitiesOnly", "yes");
                }
                None => options.problem("private key", key),
            }
        }
        // The name is that in the file: one without the other is of no use.
        match word(&login.known_hosts) {
            Some(file) => {
                options.push("HostKeyAlias", &login.host_key_alias);
                options.push("UserKnownHostsFile", &file);
            }
            None => options.problem("known hosts", &login.known_hosts),
        }
        options
    }

    fn push(&mut self, name: &str, value: &str) {
        self.words
            .extend(["-o".to_owned(), format!("{name}={value}")]);
    }

    fn problem(&mut self, what: &str, path: &Path) {
        self.problems.push(format!(
            "the file of its {what}, {path:?}, cannot be named in NIX_SSHOPTS and is left out; \
             --format ssh-config can name it"
        ));
    }
}

/// A path as a word that needs no quotes anywhere, and in which ssh finds only this path.
fn word(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    text.chars().all(plain).then(|| text.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_one_word_to_everybody_is_a_word() {
        assert_eq!(word(Path::new("/a/b-1.c")).unwrap(), "/a/b-1.c");
        assert_eq!(word(Path::new("/zoë/100%")).unwrap(), "/zoë/100%%");
        for path in [
            "/a b", "/a'b", "/a\"b", "/a\\b", "/a\nb", "/$a", "/a*", "/a;b", "~/a", "/a#b",
        ] {
            assert_eq!(word(Path::new(path)), None, "{path}");
        }
    }
}
