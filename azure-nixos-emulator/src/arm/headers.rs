//! The headers by which the answers of a resource provider differ from those of Resource Manager:
//! what remains in the compute provider's rate-limit buckets, and the network provider's own id of
//! the request. The names are those of recordings of 2024.

use uuid::Uuid;

use super::answer::Answer;
use super::call::Call;

/// Two buckets, by what remains in them after one call of a fresh subscription.
type Buckets = [(&'static str, u32); 2];

const fn minutes(three: (&'static str, u32), thirty: (&'static str, u32)) -> Buckets {
    [three, thirty]
}

/// Adds what the provider of a path adds. Errors of Resource Manager itself never came to one.
pub(crate) fn add(call: &Call, answer: Answer) -> Answer {
    let by_gateway = answer
        .headers
        .iter()
        .any(|(name, value)| *name == "x-ms-failure-cause" && value == "gateway");
    let folded: Vec<String> = call
        .segments
        .iter()
        .map(|part| part.to_ascii_lowercase())
        .collect();
    let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
    let Some(provider) = folded.iter().rposition(|part| *part == "providers") else {
        return answer;
    };
    match &folded[provider + 1..] {
        _ if by_gateway => answer,
        ["microsoft.network", _, ..] => {
            answer.with_header("x-ms-arm-service-request-id", Uuid::new_v4().to_string())
        }
        ["microsoft.compute", rest @ ..] => match buckets(call.method.as_str(), rest) {
            Some(buckets) => {
                let [first, second] = buckets.map(|(name, left)| (name, left));
                let mut text = format!("Microsoft.Compute/{};{}", first.0, first.1);
                if !second.0.is_empty() {
                    text += &format!(",Microsoft.Compute/{};{}", second.0, second.1);
                }
                answer.with_header("x-ms-ratelimit-remaining-resource", text)
            }
            None => answer,
        },
        _ => answer,
    }
}

/// The buckets of a call of the compute provider, where a recording shows them.
fn buckets(method: &str, path: &[&str]) -> Option<Buckets> {
    const ALONE: (&str, u32) = ("", 0);
    Some(match (method, path) {
        (_, ["locations", _, "diskoperations", _]) => {
            minutes(("GetOperation3Min", 49_999), ("GetOperation30Min", 399_999))
        }
        (_, ["locations", _, "capsoperations", _]) => minutes(
            ("GetOperationStatus3Min", 1_199),
            ("GetOperationStatus30Min", 4_199),
        ),
        (_, ["locations", _, "operations", _]) => [
            ("GetOperationResource", 44),
            ("GetOperationSubscriptionMaximum", 14_999),
        ],
        ("GET", ["disks" | "snapshots", _]) => {
            minutes(("LowCostGet3Min", 14_999), ("LowCostGet30Min", 119_999))
        }
        ("GET", ["disks" | "snapshots"]) => {
            minutes(("HighCostGet3Min", 239), ("HighCostGet30Min", 1_919))
        }
        ("PUT" | "PATCH", ["disks", _]) => minutes(
            ("CreateUpdateDisks3Min", 999),
            ("CreateUpdateDisks30Min", 7_999),
        ),
        ("DELETE", ["disks" | "snapshots", _]) => {
            minutes(("DeleteDisks3Min", 2_999), ("DeleteDisks30Min", 23_999))
        }
        ("POST", ["disks", _, _]) => minutes(
            ("HighCostDiskHydrate3Min", 999),
            ("HighCostDiskHydrate30Min", 7_999),
        ),
        ("PUT", ["snapshots", _]) | ("POST", ["snapshots", _, _]) => minutes(
            ("HighCostSnapshotCreateHydrate3Min", 999),
            ("HighCostSnapshotCreateHydrate30Min", 7_999),
        ),
        ("GET", ["images", _]) => [("GetImagesSubscriptionMaximum", 359), ALONE],
        ("GET", ["images"]) => [("HighCostGetImagesSubscriptionMaximum", 89), ALONE],
        ("PUT", ["images", _]) => [("CreateImagesSubscriptionMaximum", 59), ALONE],
        ("DELETE", ["images", _]) => [("DeleteImagesSubscriptionMaximum", 119), ALONE],
        ("GET", ["galleries", _]) => minutes(("GetGallery3Min", 349), ("GetGallery30Min", 2_499)),
        ("PUT" | "PATCH", ["galleries", _]) => minutes(
            ("CreateUpdateGallery3Min", 49),
            ("CreateUpdateGallery30Min", 299),
        ),
        ("DELETE", ["galleries", _]) => {
            minutes(("DeleteGallery3Min", 49), ("DeleteGallery30Min", 299))
        }
        ("GET", ["galleries", _, "images", _]) => minutes(
            ("GetGalleryImage3Min", 599),
            ("GetGalleryImage30Min", 2_999),
        ),
        ("PUT" | "PATCH", ["galleries", _, "images", _]) => minutes(
            ("CreateUpdateGalleryImage3Min", 149),
            ("CreateUpdateGalleryImage30Min", 749),
        ),
        ("DELETE", ["galleries", _, "images", _]) => minutes(
            ("DeleteGalleryImage3Min", 49),
            ("DeleteGalleryImage30Min", 299),
        ),
        ("GET", ["galleries", _, "images", _, "versions", _]) => minutes(
            ("GetGalleryImageVersion3Min", 1_999),
            ("GetGalleryImageVersion30Min", 9_999),
        ),
        ("PUT" | "PATCH", ["galleries", _, "images", _, "versions", _]) => minutes(
            ("CreateUpdateGalleryImageVersion3Min", 374),
            ("CreateUpdateGalleryImageVersion30Min", 1_199),
        ),
        ("DELETE", ["galleries", _, "images", _, "versions", _]) => minutes(
            ("DeleteGalleryImageVersion3Min", 149),
            ("DeleteGalleryImageVersion30Min", 999),
        ),
        ("GET", ["virtualmachines", _, ..])
        | ("POST", ["virtualmachines", _, "retrievebootdiagnosticsdata"]) => [
            ("LowCostGetSubscriptionMaximum", 23_999),
            ("LowCostGetResource", 35),
        ],
        ("GET", ["virtualmachines"]) => [("HighCostGetSubscriptionMaximum", 899), ALONE],
        ("PUT", ["virtualmachines", _]) => {
            [("PutVMSubscriptionMaximum", 1_499), ("PutVMResource", 11)]
        }
        ("DELETE", ["virtualmachines", _]) | ("POST", ["virtualmachines", _, "deallocate"]) => [
            ("DeleteVMSubscriptionMaximum", 1_499),
            ("DeleteVMResource", 11),
        ],
        ("PATCH", ["virtualmachines", _]) | ("POST", ["virtualmachines", _, _]) => [
            ("UpdateVMSubscriptionMaximum", 1_499),
            ("UpdateVMResource", 11),
        ],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use bytes::Bytes;

    use super::super::error::ArmError;
    use super::*;

    fn header(method: Method, path: &str, answer: Answer, name: &str) -> Option<String> {
        let uri = format!("/subscriptions/s/{path}?api-version=1")
            .parse()
            .unwrap();
        let call = Call::new(method, &uri, None, Bytes::new());
        add(&call, answer)
            .headers
            .into_iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn each_provider_has_its_own_and_the_gateway_none() {
        let compute = "x-ms-ratelimit-remaining-resource";
        let disk = "resourceGroups/g/providers/Microsoft.Compute/disks/d";
        assert_eq!(
            header(Method::DELETE, disk, Answer::empty(202), compute).as_deref(),
            Some("Microsoft.Compute/DeleteDisks3Min;2999,Microsoft.Compute/DeleteDisks30Min;23999")
        );
        let image = "resourceGroups/g/providers/microsoft.compute/Images/i";
        assert_eq!(
            header(Method::GET, image, Answer::empty(200), compute).as_deref(),
            Some("Microsoft.Compute/GetImagesSubscriptionMaximum;359")
        );
        let missing = Answer::from(ArmError::gateway(404, "ResourceNotFound", "x"));
        assert_eq!(header(Method::GET, image, missing, compute), None);
        let network = "resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n";
        let own = "x-ms-arm-service-request-id";
        let in_use = Answer::from(ArmError::network(400, "NicInUse", "x"));
        assert!(header(Method::DELETE, network, in_use, own).is_some());
        assert_eq!(
            header(Method::GET, "resourceGroups/g", Answer::empty(200), own),
            None
        );
    }
}
