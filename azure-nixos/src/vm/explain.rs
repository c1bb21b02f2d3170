//! What to do about a machine that Azure does not make: other sizes, other zones, what is used.

use super::sizes::{Catalogue, Needs};
use crate::Error;
use crate::arm::Client;

/// There is no room for the size where it is wanted.
const NO_ROOM: [&str; 5] = [
    "SkuNotAvailable",
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
];

/// The guest did not say that it is ready.
const NOT_READY: [&str; 4] = [
    "OSProvisioningTimedOut",
    "OSProvisioningClientError",
    "OSProvisioningInternalError",
    "VMAgentStatusCommunicationError",
];

fn is_one_of(error: &Error, codes: &[&str]) -> bool {
    error
        .code()
        .is_some_and(|code| codes.iter().any(|one| one.eq_ignore_ascii_case(code)))
}

/// Whether the machine runs, and did only not say so.
pub(crate) fn runs_unheard(error: &Error) -> bool {
    error.code() == Some("OSProvisioningTimedOut")
}

/// Whether the machine was started, and what it said on its console may tell why it got no further.
pub(crate) fn is_unready(error: &Error) -> bool {
    is_one_of(error, &NOT_READY)
}

/// The refusal of a machine with a hint that knows what there is.
pub(crate) async fn explain(
    client: &Client,
    error: Error,
    size: &str,
    needs: &Needs,
    agent: bool,
    catalogue: Option<&Catalogue>,
) -> Error {
    if is_one_of(&error, &NO_ROOM) {
        return no_room(error, size, needs, catalogue);
    }
    if is_unready(&error) {
        let image = if agent {
            "the image needs an agent that starts (in NixOS virtualisation.azure.agent.enable, or cloud-init), and a disk and a network driver that it finds"
        } else {
            "a generalized image is waited for even when its machine is to have no agent"
        };
        return error.with_better_hint(format!(
            "the machine was started and never told Azure that it is ready: {image}. `azure-nixos serial-log` shows how far such a machine gets; an image without an agent is booted from its managed disk, or from a gallery's definition with osState Specialized. An image of generation {} whose disk boots the other one alone gets no further than its firmware: `azure-nixos inspect FILE` says what boots a disk",
            needs.generation
        ));
    }
    let quota = error.kind() == crate::ErrorKind::Quota;
    match catalogue {
        Some(catalogue) if quota => used(client, error, size, needs, catalogue).await,
        _ => error,
    }
}

/// Zones and sizes that may have room.
fn no_room(error: Error, size: &str, needs: &Needs, catalogue: Option<&Catalogue>) -> Error {
    let mut ways = Vec::new();
    if let Some(catalogue) = catalogue {
        let zones = catalogue.other_zones(size, needs);
        match (&needs.zone, zones.as_slice()) {
            (_, []) => {}
            (Some(_), zones) => ways.push(format!(
                "try zone {} (--zone), or none, so that Azure chooses",
                zones.join(" or ")
            )),
            (None, zones) => ways.push(format!(
                "try a zone by its number (--zone {})",
                zones.join(", --zone ")
            )),
        }
        let near = catalogue.find(size);
        if let Some(proposal) = catalogue.proposal(near, needs) {
            ways.push(format!("try another size: {proposal}"));
        }
    } else if needs.zone.is_some() {
        ways.push("try another zone, or none, so that Azure chooses".to_owned());
    }
    if needs.accelerated {
        ways.push("leave --accelerated-networking out".to_owned());
    }
    if needs.spot {
        ways.push("leave --spot out: a regular machine comes first".to_owned());
    }
    ways.push("try another region, or later".to_owned());
    error.with_better_hint(format!(
        "{} has no room for {size} just now; {}",
        needs.location,
        ways.join("; ")
    ))
}

/// How much of the quota is used now: others may have used it since it was looked at.
async fn used(
    client: &Client,
    error: Error,
    size: &str,
    needs: &Needs,
    catalogue: &Catalogue,
) -> Error {
    let usages = match client.compute_usages(&needs.location).await {
        Ok(usages) => usages,
        Err(unknown) => {
            tracing::debug!("what is used of the quotas is not known: {unknown}");
            return error;
        }
    };
    let now = Catalogue {
        sizes: catalogue.sizes.clone(),
        usages,
    };
    let near = now.find(size);
    let lacking = near.and_then(|size| now.lacking(size, needs));
    let proposal = now.proposal(near, needs);
    let mut ways: Vec<String> = lacking.into_iter().chain(proposal).collect();
    ways.push("or ask for more quota (Azure portal, Quotas)".to_owned());
    error.with_better_hint(ways.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arm::replay::{Interaction, client};
    use crate::{ErrorKind, Generation};

    fn catalogue() -> Catalogue {
        let size = |name: &str, cores: &str| {
            json!({
                "resourceType": "virtualMachines", "name": name, "family": "f",
                "locations": ["westus2"],
                "locationInfo": [{ "location": "westus2", "zones": ["1", "2", "3"] }],
                "capabilities": [{ "name": "vCPUs", "value": cores }, { "name": "MemoryGB", "value": "4" }],
            })
        };
        Catalogue {
            sizes: serde_json::from_value(json!([size("A", "2"), size("B", "1")])).unwrap(),
            usages: Vec::new(),
        }
    }

    fn needs(zone: Option<&str>) -> Needs {
        Needs {
            whose: "the image",
            location: "westus2".parse().unwrap(),
            generation: Generation::V2,
            architecture: "x64".to_owned(),
            controllers: vec!["SCSI".to_owned()],
            zone: zone.map(str::to_owned),
            spot: false,
            accelerated: false,
            data_disks: 0,
            premium: false,
            trusted_launch: false,
            count: 1,
        }
    }

    fn refusal(code: &str) -> Error {
        Error::new(ErrorKind::Quota, "no")
            .with_code(code)
            .with_hint("the hint of the code")
    }

    #[tokio::test]
    async fn where_there_is_no_room_others_are_proposed() {
        let (nobody, _) = client(Vec::new());
        let all = catalogue();
        for (code, zone, parts) in [
            (
                "ZonalAllocationFailed",
                Some("1"),
                ["zone 2 or 3", "B (1 vCPU, 4 GB)"],
            ),
            (
                "AllocationFailed",
                None,
                ["--zone 1, --zone 2", "another region"],
            ),
            (
                "SkuNotAvailable",
                None,
                ["westus2 has no room for A", "B (1 vCPU"],
            ),
            (
                "OverconstrainedAllocationRequest",
                Some("2"),
                ["zone 1 or 3", "later"],
            ),
        ] {
            let error = explain(&nobody, refusal(code), "A", &needs(zone), true, Some(&all)).await;
            assert_eq!(error.code(), Some(code));
            for part in parts {
                assert!(error.hint().unwrap().contains(part), "{part}: {error:?}");
            }
        }
        // Without a look at the sizes there is less to propose.
        let error = explain(
            &nobody,
            refusal("AllocationFailed"),
            "A",
            &needs(None),
            true,
            None,
        )
        .await;
        assert_eq!(
            error.hint(),
            Some("westus2 has no room for A just now; try another region, or later")
        );
    }

    #[tokio::test]
    async fn a_quota_says_what_is_used_now() {
        let url = "https://management.azure.com/subscriptions/s/providers/Microsoft.Compute/locations/westus2/usages?api-version=2024-07-01";
        let usages = json!({ "value": [
            { "currentValue": 9, "limit": 10, "name": { "value": "cores", "localizedValue": "" } },
        ] });
        let (client, _) = client(vec![Interaction::new("GET", url, 200, &[], usages)]);
        let all = catalogue();
        let error = explain(
            &client,
            refusal("QuotaExceeded"),
            "A",
            &needs(None),
            true,
            Some(&all),
        )
        .await;
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("9 of 10 (cores)") && hint.contains("B (1 vCPU"),
            "{hint}"
        );
    }

    #[tokio::test]
    async fn a_machine_that_is_not_heard_of_is_explained() {
        let (nobody, _) = client(Vec::new());
        let timeout = || Error::new(ErrorKind::Timeout, "late").with_code("OSProvisioningTimedOut");
        assert!(runs_unheard(&timeout()) && !runs_unheard(&refusal("OSProvisioningClientError")));
        for (agent, part) in [(true, "needs an agent"), (false, "even when")] {
            let error = explain(&nobody, timeout(), "A", &needs(None), agent, None).await;
            assert!(error.hint().unwrap().contains(part), "{error:?}");
        }
        let other = Error::new(ErrorKind::Conflict, "x").with_hint("keep");
        let error = explain(&nobody, other, "A", &needs(None), true, None).await;
        assert_eq!(error.hint(), Some("keep"));
    }
}
