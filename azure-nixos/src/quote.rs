//! Text as a shell reads it, for commands that are shown to be copied, and as a terminal may be shown it.

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

/// A character that a terminal only shows, in the place of one that it would obey. The ends of lines
/// and tabs stay.
///
/// ```
/// use azure_nixos::quote::visible;
///
/// let shown: String = "bell\u{7}\n".chars().map(visible).collect();
/// assert_eq!(shown, "bell\u{2407}\n");
/// ```
#[must_use]
pub fn visible(c: char) -> char {
    match c {
        '\n' | '\t' | '\r' => c,
        // The pictures of the control characters are in their order.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{2400}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        // Those that turn the direction of writing make one text look like another.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
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
