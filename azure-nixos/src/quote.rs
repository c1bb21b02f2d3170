//! Text as a shell reads it, for commands that are shown to be copied.

/// The text as one word of a POSIX shell.
pub(crate) fn for_shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (text, word) in [
            ("/home/me/.ssh/web-1", "/home/me/.ssh/web-1"),
            ("/home/my files/k", "'/home/my files/k'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$(rm)", "'$(rm)'"),
        ] {
            assert_eq!(for_shell(text), word);
        }
    }
}
