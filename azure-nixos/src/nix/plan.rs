//! What a build would have to do, as a dry run of Nix says it.

use std::path::PathBuf;

use super::event::NixEvent;
use crate::ByteSize;

/// Derivations that are kept: a system that is built from its sources has some thousand. What comes
/// after them is not looked at.
const MOST: usize = 50_000;

/// What Nix would build and fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BuildPlan {
    /// The `.drv` files that are built here or by a builder.
    pub(super) builds: Vec<PathBuf>,
    /// What is fetched from caches takes this much in the store.
    pub(super) unpacked: Option<ByteSize>,
    /// What the lines are that come next.
    pub(super) section: Section,
}

/// What a list is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Section {
    #[default]
    None,
    Builds,
    Fetches,
}

impl BuildPlan {
    /// Takes what a dry run says, in its order.
    pub(super) fn listen(&mut self, event: &NixEvent) {
        if let NixEvent::Message { text, .. } | NixEvent::Other { line: text } = event {
            for line in text.lines() {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(entry) = line.strip_prefix("  ") {
            if self.section == Section::Builds && self.builds.len() < MOST {
                self.builds.push(PathBuf::from(entry.trim()));
            }
            return;
        }
        self.section = if line.contains(" will be built") {
            Section::Builds
        } else if line.contains(" will be fetched") {
            self.unpacked = unpacked(line);
            Section::Fetches
        } else {
            Section::None
        };
    }

    /// Whether there is nothing to do at all.
    pub(super) fn is_empty(&self) -> bool {
        self.builds.is_empty() && self.unpacked.is_none()
    }
}

/// The second size of "(1.23 MiB download, 4.56 MiB unpacked)".
fn unpacked(line: &str) -> Option<ByteSize> {
    let (before, _) = line.split_once(" unpacked")?;
    let mut words = before.rsplit(' ');
    let (unit, number) = (words.next()?, words.next()?);
    let shift = match unit {
        "B" | "bytes" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    // Two decimals are all that is said. A negative or absurd number becomes a limit of the type.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let hundredths = (number * 100.0) as u64;
    Some(ByteSize::bytes(hundredths.saturating_mul(1 << shift) / 100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::MessageLevel;

    fn plan(lines: &[&str]) -> BuildPlan {
        let mut plan = BuildPlan::default();
        for line in lines {
            plan.listen(&NixEvent::Message {
                level: MessageLevel::Info,
                text: (*line).to_owned(),
            });
        }
        plan
    }

    #[test]
    fn lists_are_told_apart() {
        let both = plan(&[
            "warning: Git tree '/etc/nixos' is dirty",
            "these 2 derivations will be built:",
            "  /nix/store/a-one.drv",
            "  /nix/store/b-two.drv",
            "these 3 paths will be fetched (1.20 MiB download, 4.50 MiB unpacked):",
            "  /nix/store/c-three",
            "warning: something",
            "  indented",
        ]);
        let builds = ["/nix/store/a-one.drv", "/nix/store/b-two.drv"].map(PathBuf::from);
        assert_eq!(both.builds, builds);
        assert_eq!(both.unpacked, Some(ByteSize::bytes((9 << 20) / 2)));
        let one = plan(&["this derivation will be built:", "  /nix/store/a-one.drv"]);
        assert_eq!((one.builds.len(), one.unpacked), (1, None));
        assert!(plan(&["copying '/etc/nixos'"]).is_empty());
        let fetched = plan(&["this path will be fetched (0.00 MiB download, 0.00 MiB unpacked):"]);
        assert!(!fetched.is_empty());
        assert_eq!(fetched.unpacked, Some(ByteSize::bytes(0)));
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("(2.0 KiB download, 512 B unpacked):", Some(512)),
            ("(2.0 KiB download, 1.5 KiB unpacked):", Some(1536)),
            ("(1 GiB download, 2.25 GiB unpacked):", Some(9 << 28)),
            ("(1 TiB download, 2 TiB unpacked):", Some(2 << 40)),
            ("(much download, more unpacked):", None),
            ("(4 XiB unpacked)", None),
            ("", None),
        ] {
            assert_eq!(unpacked(text), bytes.map(ByteSize::bytes), "{text}");
        }
    }
}
