//! Text of a stranger, made harmless for a terminal.
//!
//! What a machine says on its console is whatever somebody made it say. A terminal obeys control
//! characters: they move the cursor over what was printed, change titles, and make some terminals
//! type. Lines, tabs and colours stay; the rest is shown as signs.

use azure_nixos::quote::visible;

/// The longest sequence that sets colours and is let through; longer ones are not seen in practice.
const LONGEST: usize = 40;

/// Bytes as text, part by part: a character may begin in one part and end in the next.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pending: Vec<u8>,
}

impl Text {
    /// The text of a part. Bytes that are none become replacement characters.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut held = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            held = invalid.len();
            if held > 0 {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        // What is at the very end may be the beginning of a character.
        let end = self.pending.len() - held;
        let is_begun = held > 0
            && std::str::from_utf8(&self.pending[end..])
                .is_err_and(|error| error.error_len().is_none());
        if is_begun {
            text.pop();
            self.pending.drain(..end);
        } else {
            self.pending.clear();
        }
        text
    }

    /// What is left when no more comes.
    pub(crate) fn end(&mut self) -> String {
        let left = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        left
    }
}

/// The same, with what a terminal would obey made visible.
#[derive(Debug, Default)]
pub(crate) struct Harmless {
    text: Text,
    /// An escape sequence that has begun.
    sequence: String,
    coloured: bool,
}

impl Harmless {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        let text = self.text.push(bytes);
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            self.add(c, &mut shown);
        }
        shown
    }

    /// What is left, and an end to all colours.
    pub(crate) fn end(&mut self) -> String {
        let text = self.text.end();
        let mut shown = String::new();
        for c in text.chars() {
            self.add(c, &mut shown);
        }
        self.give_up(&mut shown);
        if std::mem::take(&mut self.coloured) {
            shown.push_str("\u{1b}[0m");
        }
        shown
    }

    fn add(&mut self, c: char, shown: &mut String) {
        if self.sequence.is_empty() {
            match c {
                '\u{1b}' => self.sequence.push(c),
                c => shown.push(visible(c)),
            }
            return;
        }
        // ESC [ numbers m: colours and weights, and nothing else.
        let is_first = self.sequence.len() == 1;
        match c {
            '[' if is_first => self.sequence.push(c),
            'm' if !is_first => {
                shown.push_str(&self.sequence);
                shown.push(c);
                self.sequence.clear();
                self.coloured = true;
            }
            '0'..='9' | ';' | ':' if !is_first && self.sequence.len() < LONGEST => {
                self.sequence.push(c);
            }
            c => {
                self.give_up(shown);
                self.add(c, shown);
            }
        }
    }

    /// Shows a sequence that is not let through.
    fn give_up(&mut self, shown: &mut String) {
        shown.extend(self.sequence.drain(..).map(visible));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> String {
        let mut harmless = Harmless::default();
        let mut text = harmless.push(bytes);
        text.push_str(&harmless.end());
        text
    }

    #[test]
    fn lines_and_colours_stay_and_the_rest_is_shown() {
        for (text, shown) in [
            ("a\tb\r\n", "a\tb\r\n"),
            (
                "\u{1b}[1;31mred\u{1b}[0m",
                "\u{1b}[1;31mred\u{1b}[0m\u{1b}[0m",
            ),
            ("\u{1b}[2Jgone", "␛[2Jgone"),
            ("\u{1b}]0;title\u{7}", "␛]0;title␇"),
            ("\u{1b}\u{1b}[0m", "␛\u{1b}[0m\u{1b}[0m"),
            ("\u{1b}[31", "␛[31"),
            ("back\u{8}\u{7f}\0", "back␈␡␀"),
            ("\u{9b}2J", "\u{fffd}2J"),
            ("a\u{202e}b", "a\u{fffd}b"),
            ("Grüße ☕", "Grüße ☕"),
        ] {
            assert_eq!(whole(text.as_bytes()), shown, "{text:?}");
        }
        let long = format!("\u{1b}[{}m", "1".repeat(100));
        assert!(!whole(long.as_bytes()).contains('\u{1b}'));
    }

    #[test]
    fn it_does_not_matter_where_parts_end() {
        let text = "\u{1b}[1;31mGrüße ☕\u{1b}[0m\u{1b}[2J\n".as_bytes();
        let mut bytes = text.to_vec();
        // No character, and one that never ends.
        bytes.extend_from_slice(&[0xff, b'x', 0xe2, 0x98]);
        let expected = whole(&bytes);
        for at in 0..bytes.len() {
            let mut harmless = Harmless::default();
            let mut shown = harmless.push(&bytes[..at]);
            shown.push_str(&harmless.push(&bytes[at..]));
            shown.push_str(&harmless.end());
            assert_eq!(shown, expected, "{at}");
        }
        let mut one_by_one = Harmless::default();
        let mut shown = String::new();
        for byte in &bytes {
            shown.push_str(&one_by_one.push(&[*byte]));
        }
        shown.push_str(&one_by_one.end());
        assert_eq!(shown, expected);
        assert!(
            expected.ends_with("\u{fffd}x\u{fffd}\u{1b}[0m"),
            "{expected:?}"
        );
    }
}
