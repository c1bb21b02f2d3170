//! What a check says.

use std::fmt;

use serde::Serialize;

use crate::Error;

/// What is looked at. The order is that of a report; [`as_str`](Self::as_str) stays the same between
/// versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Topic {
    /// Who is logged in, and to which cloud.
    Login,
    /// The subscription and its state.
    Subscription,
    /// The resource group: that it exists, or can be made.
    ResourceGroup,
    /// The region of the image.
    Location,
    /// Microsoft.Compute, for disks and images.
    ProviderCompute,
    /// Microsoft.Network, for machines.
    ProviderNetwork,
    /// What the login has to be allowed to do for an upload.
    RightsUpload,
    /// What it has to be allowed to do for a machine.
    RightsBoot,
    /// The name of the image and of the disk that it is made from, and what has them already.
    ImageName,
    /// The names of a gallery and of an image definition.
    GalleryNames,
    /// The size of machines: that it exists here and what it boots.
    VmSize,
    /// The cores that machines may have.
    Quota,
    /// The public addresses that machines may have.
    PublicAddresses,
    /// Which Nix there is.
    Nix,
    /// Whether flakes are enabled.
    Flakes,
    /// Whether the store can be used.
    NixStore,
    /// Whether something builds for the system of the image.
    System,
    /// Whether builds may use hardware virtualisation.
    Kvm,
    /// The room in the store.
    StoreSpace,
    /// The room where builds run.
    BuildSpace,
    /// Whether a build that is silent is stopped.
    SilentBuilds,
}

impl Topic {
    /// Every topic, in the order of a report.
    pub const ALL: [Self; 21] = [
        Self::Login,
        Self::Subscription,
        Self::ResourceGroup,
        Self::Location,
        Self::ProviderCompute,
        Self::ProviderNetwork,
        Self::RightsUpload,
        Self::RightsBoot,
        Self::ImageName,
        Self::GalleryNames,
        Self::VmSize,
        Self::Quota,
        Self::PublicAddresses,
        Self::Nix,
        Self::Flakes,
        Self::NixStore,
        Self::System,
        Self::Kvm,
        Self::StoreSpace,
        Self::BuildSpace,
        Self::SilentBuilds,
    ];

    /// The name for programs, as in JSON: `resource-group`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Subscription => "subscription",
            Self::ResourceGroup => "resource-group",
            Self::Location => "location",
            Self::ProviderCompute => "provider-compute",
            Self::ProviderNetwork => "provider-network",
            Self::RightsUpload => "rights-upload",
            Self::RightsBoot => "rights-boot",
            Self::ImageName => "image-name",
            Self::GalleryNames => "gallery-names",
            Self::VmSize => "vm-size",
            Self::Quota => "quota",
            Self::PublicAddresses => "public-addresses",
            Self::Nix => "nix",
            Self::Flakes => "flakes",
            Self::NixStore => "nix-store",
            Self::System => "system",
            Self::Kvm => "kvm",
            Self::StoreSpace => "store-space",
            Self::BuildSpace => "build-space",
            Self::SilentBuilds => "silent-builds",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How it stands with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// It is as it should be.
    Passed,
    /// It works, or may work, and something should be known.
    Warning,
    /// It would stop the work.
    Failed,
    /// It could not be found out, or nothing was said that could be looked at.
    NotChecked,
}

impl Outcome {
    /// The name for programs, as in JSON: `not-checked`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotChecked => "not-checked",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckItem {
    /// What was looked at.
    pub topic: Topic,
    /// How it stands.
    pub outcome: Outcome,
    /// What was found, in one sentence that names the thing.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub to_do: Option<String>,
}

impl CheckItem {
    fn new(topic: Topic, outcome: Outcome, found: impl Into<String>) -> Self {
        Self {
            topic,
            outcome,
            found: found.into(),
            to_do: None,
        }
    }

    pub(super) fn passed(topic: Topic, found: impl Into<String>) -> Self {
        Self::new(topic, Outcome::Passed, found)
    }

    pub(super) fn warning(topic: Topic, found: impl Into<String>) -> Self {
        Self::new(topic, Outcome::Warning, found)
    }

    pub(super) fn failed(topic: Topic, found: impl Into<String>) -> Self {
        Self::new(topic, Outcome::Failed, found)
    }

    pub(super) fn not_checked(topic: Topic, found: impl Into<String>) -> Self {
        Self::new(topic, Outcome::NotChecked, found)
    }

    /// A failure of what was asked for, and a warning about what was not: it stops no upload.
    pub(super) fn stops(topic: Topic, stops: bool, found: impl Into<String>) -> Self {
        if stops {
            Self::failed(topic, found)
        } else {
            Self::warning(topic, found)
        }
    }

    pub(super) fn with_advice(mut self, what: impl Into<String>) -> Self {
        self.to_do = Some(what.into());
        self
    }

    /// An item from an error, which says what to do itself.
    pub(super) fn from_error(topic: Topic, outcome: Outcome, error: &Error) -> Self {
        Self {
            topic,
            outcome,
            found: error.to_string(),
            to_do: error.hint().map(str::to_owned),
        }
    }
}

/// What was found. Each topic is there once at the most, in the order of [`Topic::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// What was looked at.
    pub items: Vec<CheckItem>,
}

impl CheckReport {
    pub(super) fn new(mut items: Vec<CheckItem>) -> Self {
        items.sort_by_key(|item| item.topic);
        Self { items }
    }

    /// Whether something would stop an upload, or a machine of a size that was asked for.
    #[must_use]
    pub fn would_stop(&self) -> bool {
        self.failed().next().is_some()
    }

    /// What would stop it.
    pub fn failed(&self) -> impl Iterator<Item = &CheckItem> {
        self.items
            .iter()
            .filter(|item| item.outcome == Outcome::Failed)
    }

    /// What was found on a topic, if it was looked at.
    #[must_use]
    pub fn item(&self, topic: Topic) -> Option<&CheckItem> {
        self.items.iter().find(|item| item.topic == topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_text_and_in_json() {
        for (at, topic) in Topic::ALL.into_iter().enumerate() {
            let json = serde_json::to_value(topic).unwrap();
            assert_eq!(json, topic.as_str());
            assert!(Topic::ALL[..at].iter().all(|before| *before < topic));
        }
        for outcome in [
            Outcome::Passed,
            Outcome::Warning,
            Outcome::Failed,
            Outcome::NotChecked,
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }

    #[test]
    fn only_what_failed_stops_an_upload() {
        let report = CheckReport::new(vec![
            CheckItem::not_checked(Topic::Kvm, "a"),
            CheckItem::stops(Topic::VmSize, false, "b").with_advice("c"),
            CheckItem::passed(Topic::Login, "d"),
        ]);
        assert!(!report.would_stop());
        let topics: Vec<_> = report.items.iter().map(|item| item.topic).collect();
        assert_eq!(topics, [Topic::Login, Topic::VmSize, Topic::Kvm]);
        let mut items = report.items;
        items.push(CheckItem::stops(Topic::Quota, true, "e"));
        let report = CheckReport::new(items);
        assert!(report.would_stop());
        assert_eq!(report.failed().count(), 1);
        assert_eq!(report.item(Topic::Quota).unwrap().found, "e");
    }
}
