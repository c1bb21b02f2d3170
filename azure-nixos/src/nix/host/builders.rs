//! The other machines that build: the setting `builders` and the file that it names.

use std::path::Path;

/// Another machine that builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NixBuilder {
    /// Its address: `ssh-ng://builder@arm`, without parameters.
    pub host: String,
    /// The systems that it builds for; empty for that of this machine.
    pub systems: Vec<String>,
    /// What it offers: `kvm`.
    pub features: Vec<String>,
}

impl NixBuilder {
    /// Whether builds on it are offered a feature.
    #[must_use]
    pub fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }
}

/// The builders of a setting: a list of them, or `@FILE`. A file that is not there, or may not be
/// read, holds none, as it does for Nix. It blocks.
pub(super) fn read(setting: &str) -> Vec<NixBuilder> {
    let mut all = Vec::new();
    for entry in entries(setting) {
        let Some(file) = entry.strip_prefix('@') else {
            all.extend(builder(entry));
            continue;
        };
        match std::fs::read_to_string(Path::new(file.trim())) {
            Ok(text) => all.extend(parse(&text)),
            Err(error) => tracing::debug!("the builders in {file} are not known: {error}"),
        }
    }
    all
}

/// The builders in a text, one a line or with `;` between.
pub(super) fn parse(text: &str) -> Vec<NixBuilder> {
    entries(text).filter_map(builder).collect()
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before))
        .flat_map(|line| line.split(';'))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// Address, systems, key, jobs, speed, features, mandatory features; `-` for the default.
fn builder(entry: &str) -> Option<NixBuilder> {
    let fields: Vec<&str> = entry.split_whitespace().collect();
    let list = |at: usize| {
        let field = fields.get(at).copied().filter(|field| *field != "-");
        let items = field.unwrap_or_default().split(',');
        items.filter(|item| !item.is_empty()).map(str::to_owned)
    };
    let host = *fields.first()?;
    Some(NixBuilder {
        host: host
            .split_once('?')
            .map_or(host, |(before, _)| before)
            .to_owned(),
        systems: list(1).collect(),
        features: list(5).chain(list(6)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_come_from_the_setting_and_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("machines");
        std::fs::write(
            &file,
            "# ours\nssh-ng://b@arm?ssh-key=/secret aarch64-linux,armv7l-linux /etc/key 4 1 big-parallel kvm c3Nocg==\n\nssh://mac - # no system\n",
        )
        .unwrap();
        let all = read(&format!(
            "ssh://one i686-linux; @{} ; @/nowhere",
            file.display()
        ));
        let expected = [
            NixBuilder {
                host: "ssh://one".to_owned(),
                systems: vec!["i686-linux".to_owned()],
                features: vec![],
            },
            NixBuilder {
                host: "ssh-ng://b@arm".to_owned(),
                systems: vec!["aarch64-linux".to_owned(), "armv7l-linux".to_owned()],
                features: vec!["big-parallel".to_owned(), "kvm".to_owned()],
            },
            NixBuilder {
                host: "ssh://mac".to_owned(),
                ..NixBuilder::default()
            },
        ];
        assert_eq!(all, expected);
        assert!(all[1].offers("kvm") && !all[0].offers("kvm"));
        assert_eq!(read(""), []);
    }
}
