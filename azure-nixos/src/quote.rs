//! Text as a shell reads it, for commands that are shown to be copied.

use std::path::Path;

/// The text as one word of a POSIX shell.
///
/// ```
/// use azure_nixos::quote::for_shell;
///
/// assert_eq!(for_shell("/dev/null"), "/dev/null");
/// assert_eq!(for_shell("my disk"), "'my disk'");
/// ```
#[must_use]
pub fn for_shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    in_quotes(text)
}

/// A path as one word of a POSIX shell that no program takes for an option.
pub(crate) fn path_for_shell(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') {
        in_quotes(&format!("./{text}"))
    } else {
        for_shell(&text)
    }
}

/// The text in single quotes, whatever it is.
pub(crate) fn in_quotes(text: &str) -> String {
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

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(path_for_shell(Path::new("/a/b.vhd")), "/a/b.vhd");
        assert_eq!(path_for_shell(Path::new("my disk.vhd")), "'my disk.vhd'");
        assert_eq!(path_for_shell(Path::new("it's")), r"'it'\''s'");
        assert_eq!(path_for_shell(Path::new("-rf")), "'./-rf'");
    }
}
