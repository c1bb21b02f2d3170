//! The api-versions that exist.
//!
//! One client uses several for one resource, so that any version of a type is served alike and
//! nothing is keyed by it. What matters is that a version which does not exist is refused.

use super::answer::Result;
use super::error::ArmError;

const COMPUTE: &[&str] = &[
    "2015-06-15",
    "2016-03-30",
    "2016-04-30-preview",
    "2017-03-30",
    "2017-12-01",
    "2018-04-01",
    "2018-06-01",
    "2018-10-01",
    "2019-03-01",
    "2019-07-01",
    "2019-12-01",
    "2020-06-01",
    "2020-12-01",
    "2021-03-01",
    "2021-04-01",
    "2021-07-01",
    "2021-11-01",
    "2022-03-01",
    "2022-08-01",
    "2022-11-01",
    "2023-03-01",
    "2023-07-01",
    "2023-09-01",
    "2024-03-01",
    "2024-07-01",
    "2024-11-01",
    "2025-04-01",
    "2025-11-01",
    "2026-04-01",
];

const DISKS: &[&str] = &[
    "2016-04-30-preview",
    "2017-03-30",
    "2018-04-01",
    "2018-06-01",
    "2018-09-30",
    "2019-03-01",
    "2019-07-01",
    "2019-11-01",
    "2020-05-01",
    "2020-06-30",
    "2020-09-30",
    "2020-12-01",
    "2021-04-01",
    "2021-08-01",
    "2021-12-01",
    "2022-03-02",
    "2022-07-02",
    "2023-01-02",
    "2023-04-02",
    "2023-10-02",
    "2024-03-02",
    "2025-01-02",
    "2026-03-02",
];

const SKUS: &[&str] = &["2017-03-30", "2017-09-01", "2019-04-01", "2021-07-01"];

const NETWORK: &[&str] = &[
    "2015-06-15",
    "2016-03-30",
    "2016-06-01",
    "2016-09-01",
    "2016-12-01",
    "2017-03-01",
    "2017-06-01",
    "2017-08-01",
    "2017-09-01",
    "2017-10-01",
    "2017-11-01",
    "2018-01-01",
    "2018-02-01",
    "2018-04-01",
    "2018-06-01",
    "2018-07-01",
    "2018-08-01",
    "2018-10-01",
    "2018-11-01",
    "2018-12-01",
    "2019-02-01",
    "2019-04-01",
    "2019-06-01",
    "2019-07-01",
    "2019-08-01",
    "2019-09-01",
    "2019-11-01",
    "2019-12-01",
    "2020-03-01",
    "2020-04-01",
    "2020-05-01",
    "2020-06-01",
    "2020-07-01",
    "2020-08-01",
    "2020-11-01",
    "2021-02-01",
    "2021-03-01",
    "2021-05-01",
    "2021-08-01",
    "2022-01-01",
    "2022-05-01",
    "2022-07-01",
    "2022-09-01",
    "2022-11-01",
    "2023-02-01",
    "2023-04-01",
    "2023-05-01",
    "2023-06-01",
    "2023-09-01",
    "2023-11-01",
    "2024-01-01",
    "2024-03-01",
    "2024-05-01",
    "2024-07-01",
    "2024-10-01",
    "2025-01-01",
    "2025-03-01",
    "2025-05-01",
    "2025-07-01",
    "2025-09-01",
    "2026-03-01",
];

const GALLERIES: &[&str] = &[
    "2018-06-01",
    "2019-03-01",
    "2019-07-01",
    "2019-12-01",
    "2020-09-30",
    "2021-07-01",
    "2021-10-01",
    "2022-01-03",
    "2022-03-03",
    "2022-08-03",
    "2023-07-03",
    "2024-03-03",
    "2025-03-03",
    "2026-03-03",
];

const IDENTITIES: &[&str] = &[
    "2015-08-31-preview",
    "2018-11-30",
    "2021-09-30-preview",
    "2022-01-31-preview",
    "2023-01-31",
    "2023-07-31-preview",
    "2024-11-30",
    "2025-01-31-preview",
    "2025-05-31-preview",
];

const AUTHORIZATION: &[&str] = &[
    "2015-07-01",
    "2017-10-01-preview",
    "2018-01-01-preview",
    "2018-07-01",
    "2018-09-01-preview",
    "2020-03-01-preview",
    "2020-04-01-preview",
    "2020-08-01-preview",
    "2020-10-01",
    "2020-10-01-preview",
    "2022-04-01",
    "2022-05-01-preview",
];

const STORAGE: &[&str] = &[
    "2015-06-15",
    "2016-01-01",
    "2016-12-01",
    "2017-06-01",
    "2017-10-01",
    "2018-02-01",
    "2018-07-01",
    "2018-11-01",
    "2019-04-01",
    "2019-06-01",
    "2021-01-01",
    "2021-02-01",
    "2021-04-01",
    "2021-06-01",
    "2021-08-01",
    "2021-09-01",
    "2022-05-01",
    "2022-09-01",
    "2023-01-01",
    "2023-04-01",
    "2023-05-01",
    "2024-01-01",
    "2025-01-01",
    "2025-06-01",
    "2025-08-01",
];

/// Resource groups, providers, deployments: `Microsoft.Resources`.
const RESOURCES: &[&str] = &[
    "2015-11-01",
    "2016-02-01",
    "2016-06-01",
    "2016-07-01",
    "2016-09-01",
    "2017-05-10",
    "2018-01-01",
    "2018-02-01",
    "2018-05-01",
    "2019-03-01",
    "2019-05-01",
    "2019-05-10",
    "2019-07-01",
    "2019-08-01",
    "2019-10-01",
    "2020-06-01",
    "2020-08-01",
    "2020-10-01",
    "2021-01-01",
    "2021-04-01",
    "2022-09-01",
    "2024-03-01",
    "2024-07-01",
    "2024-11-01",
    "2025-03-01",
    "2025-04-01",
];

const SUBSCRIPTIONS: &[&str] = &[
    "2014-04-01",
    "2015-11-01",
    "2016-06-01",
    "2018-06-01",
    "2019-06-01",
    "2019-11-01",
    "2020-01-01",
    "2021-01-01",
    "2021-10-01",
    "2022-12-01",
    "2024-11-01",
];

/// Refuses a request whose api-version is missing or is none of the type's. `short` is the type
/// without its namespace.
pub(crate) fn check<'a>(namespace: &str, short: &str, version: Option<&'a str>) -> Result<&'a str> {
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        return Err(ArmError::gateway(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    };
    if known(namespace, short)
        .iter()
        .any(|list| list.contains(&version))
    {
        return Ok(version);
    }
    Err(ArmError::gateway(
        404,
        "InvalidResourceType",
        format!(
            "The resource type could not be found in the namespace '{namespace}' for api version '{version}'."
        ),
    ))
}

/// The versions of a type, newest first, as the description of its provider lists them.
pub(crate) fn of(namespace: &str, short: &str) -> Vec<&'static str> {
    let mut all: Vec<&str> = known(namespace, short)
        .iter()
        .flat_map(|list| list.iter().copied())
        .collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup();
    all
}

fn known(namespace: &str, short: &str) -> &'static [&'static [&'static str]] {
    let short_folded = short.to_ascii_lowercase();
    match namespace.to_ascii_lowercase().as_str() {
        "microsoft.compute" => match short_folded.as_str() {
            "disks" | "snapshots" => &[DISKS],
            "galleries" | "galleries/images" | "galleries/images/versions" => &[GALLERIES],
            "skus" => &[SKUS, COMPUTE],
            // Operations and usages belong to no one type.
            "locations" => &[COMPUTE, DISKS, GALLERIES],
            _ => &[COMPUTE],
        },
        "microsoft.network" => &[NETWORK],
        "microsoft.managedidentity" => &[IDENTITIES],
        "microsoft.authorization" => &[AUTHORIZATION],
        "microsoft.storage" => &[STORAGE],
        "microsoft.resources" if short_folded == "subscriptions" => &[SUBSCRIPTIONS, RESOURCES],
        "microsoft.resources" => &[RESOURCES],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_types() {
        assert!(check("Microsoft.Compute", "disks", Some("2023-04-02")).is_ok());
        let wrong = check("Microsoft.Compute", "images", Some("2023-04-02")).unwrap_err();
        assert_eq!(
            (wrong.status, wrong.code.as_str()),
            (404, "InvalidResourceType")
        );
        let missing = check("Microsoft.Network", "virtualNetworks", None).unwrap_err();
        assert_eq!(missing.code, "MissingApiVersionParameter");
    }
}
