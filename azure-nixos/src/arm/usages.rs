//! Quotas: how much of what a subscription uses in a region, and how much it may.
//!
//! Microsoft.Compute and Microsoft.Network list them in the same shape, each its own.

use serde::{Deserialize, Deserializer};

use super::{Client, Location};
use crate::Result;

const COMPUTE: &str = "2024-07-01";
const NETWORK: &str = "2024-01-01";

/// All cores of a region together, among the usages of Microsoft.Compute. The cores of one family of
/// sizes are named as the [family](super::compute::VmSize::family).
pub(crate) const ALL_CORES: &str = "cores";

/// One of the things that are counted in a region.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Usage {
    /// Its name.
    pub name: UsageName,
    /// How many there are.
    #[serde(default, deserialize_with = "whole")]
    pub current_value: i64,
    /// How many there may be.
    #[serde(default, deserialize_with = "whole")]
    pub limit: i64,
}

/// The name of what is counted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UsageName {
    /// For programs: `cores`, `standardDSv5Family`. The case is not the same everywhere.
    #[serde(default)]
    pub value: String,
    /// For people: `Total Regional vCPUs`.
    #[serde(default)]
    pub localized_value: String,
}

impl Usage {
    /// Whether this is what the name names, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.value.eq_ignore_ascii_case(name)
    }

    /// How many there may be in addition; nothing where that has no limit.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        // -1 stands for no limit.
        if self.limit < 0 {
            return None;
        }
        let left = self.limit.saturating_sub(self.current_value);
        Some(u64::try_from(left).unwrap_or(0))
    }

    /// Whether there may not be so many in addition.
    #[must_use]
    pub fn lacks(&self, needed: u64) -> bool {
        self.left().is_some_and(|left| left < needed)
    }
}

/// The contract says integers; Microsoft.Network's own examples write `8.0`.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a float becomes the nearest number there is, which is what is meant"
    )]
    let rounded = || number.as_f64().unwrap_or_default().round() as i64;
    Ok(number.as_i64().unwrap_or_else(rounded))
}

impl Client {
    async fn usages(
        &self,
        namespace: &str,
        version: &str,
        location: &Location,
    ) -> Result<Vec<Usage>> {
        let path = format!(
            "/subscriptions/{}/providers/{namespace}/locations/{location}/usages",
            self.subscription_id()
        );
        self.list(
            self.url(&path, version, &[]),
            &format!("list what is used of {namespace} in {location}"),
        )
        .await
    }

    /// Cores of virtual machines in a region, of all sizes and by family, and what else
    /// Microsoft.Compute counts.
    ///
    /// # Errors
    /// When it cannot be read: it is asked of the subscription.
    pub async fn compute_usages(&self, location: &Location) -> Result<Vec<Usage>> {
        self.usages("Microsoft.Compute", COMPUTE, location).await
    }

    /// Networks and addresses in a region.
    ///
    /// # Errors
    /// When it cannot be read: it is asked of the subscription.
    pub async fn network_usages(&self, location: &Location) -> Result<Vec<Usage>> {
        self.usages("Microsoft.Network", NETWORK, location).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::replay::{Interaction, client};
    use super::*;

    #[tokio::test]
    async fn usages_come_in_pages_and_with_fractions() {
        let url = "https://management.azure.com/subscriptions/s/providers/Microsoft.Network/locations/westus2/usages?api-version=2024-01-01";
        let next = format!("{url}&$skiptoken=2");
        let one = |name: &str, used: serde_json::Value, limit: serde_json::Value| {
            json!({ "unit": "Count", "currentValue": used, "limit": limit,
                "name": { "value": name, "localizedValue": name } })
        };
        let (client, _) = client(vec![
            Interaction::new(
                "GET",
                url,
                200,
                &[],
                json!({ "value": [one("PublicIPAddresses", json!(8.0), json!(60.0))], "nextLink": next }),
            ),
            Interaction::new(
                "GET",
                &next,
                200,
                &[],
                json!({ "value": [
                    one("Full", json!(9), json!(8)),
                    one("Free", json!(1), json!(-1)),
                    one("Vast", json!(0), json!(9_223_372_036_854_775_807_i64)),
                ] }),
            ),
        ]);
        let all = client
            .network_usages(&"West US 2".parse().unwrap())
            .await
            .unwrap();
        assert!(all[0].is("publicipaddresses"));
        let left: Vec<_> = all.iter().map(Usage::left).collect();
        assert_eq!(
            left,
            [Some(52), Some(0), None, Some(9_223_372_036_854_775_807)]
        );
    }
}
