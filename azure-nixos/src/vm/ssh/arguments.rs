//! Arguments of settings as OpenSSH reads them, in a file and behind `-o` alike.

use std::path::Path;

/// One argument, as OpenSSH reads it from 8.7 on; older ones know no backslashes.
pub(in crate::vm) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The name of a file where ssh knows `%`, `~` and `${}`; the last two have no escape, and such a name has
/// no argument.
pub(in crate::vm) fn file_argument(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let unwritable =
        text.contains("${") || text.starts_with('~') || text.contains(char::is_control);
    (!unwritable).then(|| quoted(&text.replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_they_must_be() {
        for (path, argument) in [
            ("/home/ada/.ssh/web-1", Some("/home/ada/.ssh/web-1")),
            ("/my keys/100%", Some("\"/my keys/100%%\"")),
            ("/a\"b\\c", Some("\"/a\\\"b\\\\c\"")),
            ("/a#b", Some("\"/a#b\"")),
            ("/$HOME", Some("\"/$HOME\"")),
            ("/${HOME}", None),
            ("~x/y", None),
            ("/a\nb", None),
        ] {
            assert_eq!(
                file_argument(Path::new(path)).as_deref(),
                argument,
                "{path}"
            );
        }
    }
}
