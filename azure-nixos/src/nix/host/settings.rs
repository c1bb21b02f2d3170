//! The settings of Nix as `nix show-config --json` prints them.
//!
//! A hundred entries, each an object with its `value`; of some the type has changed between
//! versions. Only what is needed is kept: among the rest are access tokens.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

/// Experimental features by their numbers: until 2.13 or so the JSON had these in the place of the
/// names, in the order of Nix's `experimental-features.hh` of 2.8.
const NUMBERED: [&str; 7] = [
    "ca-derivations",
    "impure-derivations",
    "flakes",
    "nix-command",
    "recursive-nix",
    "no-url-literals",
    "fetch-closure",
];

/// What is needed of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) features: Vec<String>,
    pub(super) system: String,
    pub(super) extra_platforms: Vec<String>,
    pub(super) system_features: Vec<String>,
    pub(super) system_features_set: bool,
    pub(super) builders: String,
    pub(super) max_jobs: Option<u64>,
    pub(super) max_silent_time: Option<Duration>,
    pub(super) build_users_group: Option<String>,
    pub(super) build_dir: Option<PathBuf>,
}

impl Settings {
    /// Reads the JSON.
    ///
    /// # Errors
    /// When it is none, or does not say for which system Nix builds. The error quotes nothing.
    pub(super) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let all: Map<String, Value> = serde_json::from_slice(json)?;
        let entry = |name: &str, field: &str| all.get(name).and_then(|entry| entry.get(field));
        let text = |name: &str| {
            let value = entry(name, "value").and_then(Value::as_str);
            value.filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let texts = |name: &str| entry(name, "value").map(words).unwrap_or_default();
        let number = |name: &str| entry(name, "value").and_then(Value::as_u64);
        let system = text("system").ok_or_else(|| {
            <serde_json::Error as serde::de::Error>::custom("there is no setting `system`")
        })?;
        let found = entry("system-features", "defaultValue").map(words);
        let system_features = texts("system-features");
        Ok(Self {
            features: texts("experimental-features"),
            system,
            extra_platforms: texts("extra-platforms"),
            system_features_set: found.is_some_and(|found| found != system_features),
            system_features,
            builders: text("builders").unwrap_or_default(),
            max_jobs: number("max-jobs"),
            max_silent_time: number("max-silent-time")
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            build_users_group: text("build-users-group"),
            build_dir: text("build-dir").map(PathBuf::from),
        })
    }
}

/// A list, or a text with spaces between the words, in order.
fn words(value: &Value) -> Vec<String> {
    let mut words: Vec<String> = match value {
        Value::Array(items) => items.iter().filter_map(word).collect(),
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    words.sort_unstable();
    words
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let at = usize::try_from(number.as_u64()?).ok()?;
            NUMBERED.get(at).map(ToString::to_string)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(value: &Value, default: &Value) -> Value {
        json!({ "aliases": [], "defaultValue": default, "description": "\nWords.\n",
            "documentDefault": true, "value": value })
    }

    fn parse(json: &Value) -> Settings {
        Settings::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn nix_2_8_numbers_its_features() {
        let features = json!(["benchmark", "big-parallel", "nixos-test"]);
        let settings = parse(&json!({
            "access-tokens": entry(&json!({ "github.com": "ghp_secret" }), &json!({})),
            "build-users-group": entry(&json!(""), &json!("")),
            "builders": entry(&json!("@/etc/nix/machines"), &json!("@/etc/nix/machines")),
            "experimental-features": entry(&json!([2, 3]), &json!([])),
            "extra-platforms": entry(&json!(["i686-linux", "x86_64-v1-linux"]), &json!([])),
            "max-jobs": entry(&json!(1), &json!(1)),
            "max-silent-time": entry(&json!(0), &json!(0)),
            "system": entry(&json!("x86_64-linux"), &json!("x86_64-linux")),
            "system-features": entry(&features, &features),
        }));
        assert_eq!(
            settings,
            Settings {
                features: vec!["flakes".to_owned(), "nix-command".to_owned()],
                system: "x86_64-linux".to_owned(),
                extra_platforms: vec!["i686-linux".to_owned(), "x86_64-v1-linux".to_owned()],
                system_features: ["benchmark", "big-parallel", "nixos-test"]
                    .map(str::to_owned)
                    .into(),
                system_features_set: false,
                builders: "@/etc/nix/machines".to_owned(),
                max_jobs: Some(1),
                ..Settings::default()
            }
        );
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn nix_2_18_and_newer_name_them_and_may_have_a_build_dir() {
        let one = |value: Value, default: Value| {
            json!({ "aliases": [], "defaultValue": default, "description": "Words.",
                "documentDefault": true, "experimentalFeature": null, "value": value })
        };
        let mut json = json!({
            "build-dir": one(json!("/big/builds"), Value::Null),
            "build-users-group": one(json!("nixbld"), json!("nixbld")),
            "builders": one(json!("ssh://arm aarch64-linux"), json!("@/etc/nix/machines")),
            "experimental-features": one(json!(["nix-command", "flakes"]), json!([])),
            "extra-platforms": one(json!(["aarch64-linux"]), json!([])),
            "max-jobs": one(json!(0), json!(1)),
            "max-silent-time": one(json!(300), json!(0)),
            "system": one(json!("x86_64-linux"), json!("x86_64-linux")),
            "system-features": one(json!(["kvm", "gccarch-skylake"]), json!(["kvm"])),
        });
        let settings = parse(&json);
        assert_eq!(settings.features, ["flakes", "nix-command"]);
        assert_eq!(settings.max_jobs, Some(0));
        assert_eq!(settings.max_silent_time, Some(Duration::from_secs(300)));
        assert_eq!(settings.build_users_group.as_deref(), Some("nixbld"));
        assert_eq!(settings.build_dir.as_deref(), Some("/big/builds".as_ref()));
        assert!(settings.system_features_set);
        json["build-dir"]["value"] = Value::Null;
        assert_eq!(parse(&json).build_dir, None);
    }

    #[test]
    fn lix_has_what_it_has() {
        // It has dropped settings and added others; nothing but the system is required.
        let settings = parse(&json!({
            "experimental-features": { "value": ["flakes", "nix-command"], "defaultValue": [], "aliases": [] },
            "system": { "value": "aarch64-linux", "defaultValue": "aarch64-linux", "aliases": [] },
            "system-features": { "value": "kvm nixos-test", "aliases": [] },
            "builders": { "value": null },
        }));
        assert_eq!(settings.system, "aarch64-linux");
        assert_eq!(settings.system_features, ["kvm", "nixos-test"]);
        assert!(!settings.system_features_set);
        assert_eq!(settings.builders, "");
    }

    #[test]
    fn what_is_no_such_json_is_refused_without_a_quotation() {
        for text in [
            "",
            "nix: a secret",
            "[]",
            "{}",
            "{\"system\":{\"value\":7}}",
        ] {
            let error = Settings::parse(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
