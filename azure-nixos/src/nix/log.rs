//! The last lines of builders, and lines out of a stream of bytes; both in bounded memory.

use std::collections::VecDeque;

/// Lines of a builder that go into the error when it fails.
pub(super) const TAIL: usize = 25;
/// Builds whose tail is kept after they are over: the failed one is said only then.
const FINISHED: usize = 8;
/// Builds that can run at once before the oldest loses its tail. Nix starts `max-jobs` and one per
/// slot of the remote builders.
const RUNNING: usize = 256;
/// Lines of programs around Nix (git, ssh) that are kept.
const OTHERS: usize = 10;

/// The tails of the builds that run or have just ended.
#[derive(Debug, Default)]
pub(super) struct BuildLogs {
    running: VecDeque<(String, VecDeque<String>)>,
    finished: VecDeque<(String, VecDeque<String>)>,
    others: VecDeque<String>,
}

fn keep<T>(queue: &mut VecDeque<T>, item: T, limit: usize) {
    if queue.len() == limit {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl BuildLogs {
    pub(super) fn push(&mut self, derivation: &str, line: String) {
        let found = self.running.iter_mut().find(|(name, _)| name == derivation);
        match found {
            Some((_, tail)) => keep(tail, line, TAIL),
            None => keep(
                &mut self.running,
                (derivation.to_owned(), VecDeque::from([line])),
                RUNNING,
            ),
        }
    }

    pub(super) fn finish(&mut self, derivation: &str) {
        if let Some(at) = self.running.iter().position(|(name, _)| name == derivation)
            && let Some(tail) = self.running.remove(at)
        {
            keep(&mut self.finished, tail, FINISHED);
        }
    }

    /// A line that belongs to no build.
    pub(super) fn other(&mut self, line: String) {
        keep(&mut self.others, line, OTHERS);
    }

    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    /// The last lines of a build.
    pub(super) fn tail(&self, derivation: &str) -> Vec<&str> {
        self.running
            .iter()
            .chain(self.finished.iter().rev())
            .find(|(name, _)| name == derivation)
            .map(|(_, tail)| tail.iter().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// The last lines of whichever build ended last, for when Nix does not say which one failed.
    pub(super) fn last_tail(&self) -> Vec<&str> {
        self.finished
            .back()
            .or_else(|| self.running.back())
            .map(|(_, tail)| tail.iter().map(String::as_str).collect())
            .unwrap_or_default()
    }
}

/// Cuts a stream into lines. A line longer than the limit is handed over once, without its end.
#[derive(Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            limit,
            cut: false,
        }
    }

    /// Takes the next bytes and calls `each` with every line that is complete now.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], bool)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.add(&bytes[..end]);
            bytes = &bytes[end + 1..];
            each(&self.line, self.cut);
            self.line.clear();
            self.cut = false;
        }
        self.add(bytes);
    }

    /// The line that has no line break, at the end of the stream.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8], bool)) {
        if !self.line.is_empty() {
            each(&self.line, self.cut);
            self.line.clear();
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = self.limit - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.cut |= bytes.len() > room;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(limit: usize, chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let mut lines = Lines::new(limit);
        let mut seen = Vec::new();
        let mut each =
            |line: &[u8], cut| seen.push((String::from_utf8_lossy(line).into_owned(), cut));
        for chunk in chunks {
            lines.push(chunk, &mut each);
        }
        lines.finish(&mut each);
        seen
    }

    #[test]
    fn lines_are_found_across_chunks_and_cut_at_the_limit() {
        let seen = split(4, &[b"a\nbc", b"d\n\nlong", b"er still\nx", b"yzw"]);
        let expected = [
            ("a", false),
            ("bcd", false),
            ("", false),
            ("long", true),
            ("xyzw", false),
        ];
        assert_eq!(seen, expected.map(|(line, cut)| (line.to_owned(), cut)));
    }

    #[test]
    fn an_endless_line_needs_no_more_than_the_limit() {
        let mut lines = Lines::new(100);
        for _ in 0..10_000 {
            lines.push(&[b'x'; 1000], |_, _| panic!("no line ends here"));
        }
        assert!(lines.line.capacity() <= 200);
        lines.push(b"\n", |line, cut| {
            assert_eq!((line.len(), cut), (100, true));
        });
    }

    #[test]
    fn only_the_last_lines_of_the_right_build_are_kept() {
        let mut logs = BuildLogs::default();
        for number in 0..1000 {
            logs.push("a", format!("a{number}"));
            logs.push("b", format!("b{number}"));
        }
        logs.finish("a");
        let expected: Vec<_> = (975..1000).map(|n| format!("a{n}")).collect();
        assert_eq!(logs.tail("a"), expected);
        assert_eq!(logs.last_tail(), expected);
        assert_eq!(logs.tail("b").len(), TAIL);
        for number in 0..100 {
            logs.push(&format!("c{number}"), "x".into());
            logs.finish(&format!("c{number}"));
        }
        assert!(logs.tail("a").is_empty());
        assert_eq!(logs.finished.len(), FINISHED);
    }
}
