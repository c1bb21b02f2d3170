//! Resource ids and locations: two strings that must not be compared as strings.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The id of a resource: `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/images/web`.
///
/// Azure ignores the case of ids and does not keep it (`resourcegroups` here, `/Subscriptions`
/// there), so two ids are equal when they differ in case only. The text stays as it came.
///
/// ```
/// use azure_nixos::arm::ResourceId;
///
/// let a: ResourceId = "/subscriptions/s/resourceGroups/RG/providers/Microsoft.Compute/images/web".parse()?;
/// let b: ResourceId = "/Subscriptions/s/resourcegroups/rg/providers/microsoft.compute/IMAGES/web".parse()?;
/// assert_eq!(a, b);
/// assert_eq!(a.resource_group(), Some("RG"));
/// assert_eq!(a.name(), "web");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId(String);

impl ResourceId {
    /// The id of a resource in a group. `kind` is the full type: `Microsoft.Compute/disks`.
    pub(crate) fn new(subscription: &str, group: &str, kind: &str, name: &str) -> Self {
        Self(format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/{kind}/{name}"
        ))
    }

    /// The id of a resource group.
    pub(crate) fn group(subscription: &str, group: &str) -> Self {
        Self(format!(
            "/subscriptions/{subscription}/resourceGroups/{group}"
        ))
    }

    /// The id of a resource inside this one: a subnet of a network.
    pub(crate) fn child(&self, kind: &str, name: &str) -> Self {
        Self(format!("{}/{kind}/{name}", self.0))
    }

    /// The id as text, in the case in which it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    fn after(&self, key: &str) -> Option<&str> {
        let mut segments = self.segments();
        segments.find(|part| part.eq_ignore_ascii_case(key))?;
        segments.next()
    }

    /// The subscription, a GUID.
    #[must_use]
    pub fn subscription(&self) -> Option<&str> {
        self.after("subscriptions")
    }

    /// The name of the resource group.
    #[must_use]
    pub fn resource_group(&self) -> Option<&str> {
        self.after("resourceGroups")
    }

    /// The namespace of the resource provider: `Microsoft.Compute`.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.after("providers")
    }

    /// The name of the resource: the last part.
    #[must_use]
    pub fn name(&self) -> &str {
        self.segments().last().unwrap_or_default()
    }

    /// Whether this is the id of a resource of this full type (`Microsoft.Compute/images`).
    #[must_use]
    pub fn is_kind(&self, kind: &str) -> bool {
        let segments: Vec<_> = self.segments().collect();
        let Some(at) = segments
            .iter()
            .rposition(|part| part.eq_ignore_ascii_case("providers"))
        else {
            return false;
        };
        let Some(namespace) = segments.get(at + 1) else {
            return false;
        };
        let mut found = (*namespace).to_owned();
        for kind in segments[at + 2..].iter().step_by(2) {
            found.push('/');
            found.push_str(kind);
        }
        found.eq_ignore_ascii_case(kind)
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_ascii_lowercase().hash(state);
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ResourceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = Self(text.trim().trim_end_matches('/').to_owned());
        let segments: Vec<&str> = id.segments().collect();
        // What follows goes into a URL path as it is.
        let plain = id
            .0
            .chars()
            .all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '?' | '#' | '%' | '\\'));
        let empty_part =
            id.0.get(1..)
                .unwrap_or_default()
                .split('/')
                .any(|part| part.is_empty() || part == "." || part == "..");
        if !id.0.starts_with('/')
            || segments.len() < 2
            || !segments[0].eq_ignore_ascii_case("subscriptions")
            || !plain
            || empty_part
        {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a resource id"),
            )
            .with_hint(
                "an id looks like /subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/images/NAME",
            ));
        }
        Ok(id)
    }
}

impl TryFrom<String> for ResourceId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.0
    }
}

/// An Azure region, in the form that the service normalises to: `westus2` for `West US 2`.
///
/// ```
/// use azure_nixos::arm::Location;
///
/// assert_eq!(Location::new("West US 2")?, Location::new("westus2")?);
/// assert_eq!(Location::new("West US 2")?.as_str(), "westus2");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location(String);

impl Location {
    /// Takes a name or a display name of a region.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it has anything but letters, digits and spaces. Whether
    /// the region exists is only known to the service.
    pub fn new(text: &str) -> Result<Self> {
        let normal: String = text
            .chars()
            .filter(|c| *c != ' ')
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if normal.is_empty() || !normal.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not the name of a location"),
            )
            .with_hint(
                "pass a region such as westus2; `az account list-locations -o table` lists them",
            ));
        }
        Ok(Self(normal))
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name or a display name is that of this region.
    pub(crate) fn is_named(&self, text: &str) -> bool {
        Self::new(text).is_ok_and(|other| other == *self)
    }

    /// Whether it is in a list of names. An empty one is of what is everywhere.
    pub(crate) fn is_among(&self, names: &[String]) -> bool {
        names.is_empty() || names.iter().any(|name| self.is_named(name))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Location {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(&text)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_whatever_the_case() {
        let id: ResourceId =
            "/Subscriptions/s1/resourcegroups/g/Providers/Microsoft.Network/virtualNetworks/v/subnets/n"
                .parse()
                .unwrap();
        assert_eq!(id.subscription(), Some("s1"));
        assert_eq!(id.resource_group(), Some("g"));
        assert_eq!(id.provider(), Some("Microsoft.Network"));
        assert_eq!(id.name(), "n");
        assert!(id.is_kind("microsoft.network/virtualNetworks/subnets"));
        assert!(!id.is_kind("Microsoft.Network/virtualNetworks"));
    }

    #[test]
    fn what_would_change_a_url_is_refused() {
        for text in [
            "",
            "web",
            "/images/web",
            "/subscriptions",
            "/subscriptions/s/resourceGroups/g?x=1",
            "/subscriptions/s/../t",
            "/subscriptions//x",
            "/subscriptions/s/resourceGroups/a b",
            "//subscriptions/s",
        ] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
    }

    #[test]
    fn locations_are_compared_normalised() {
        assert_eq!(
            Location::new("CentralUSEuap").unwrap().as_str(),
            "centraluseuap"
        );
        for text in ["", " ", "west-us", "westus2/..", "ＷＥＳＴ"] {
            assert!(Location::new(text).is_err(), "{text}");
        }
    }
}
