//! The official documents as the judge of what real clients ask, and of what they are answered.

use azure_nixos_tests::Local;
use azure_nixos_tests::openapi::{self, Deviation, Rule, Side};

/// Looking for a snapshot of the name of a disk.
pub(crate) const SNAPSHOT: Deviation = Deviation {
    operation: "GET /subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/snapshots/*",
    side: Side::Request,
    rule: Rule::Operation,
    at: "",
    why: "the documents of snapshots are not at hand",
};

/// How many subscriptions there are.
pub(crate) const COUNT: Deviation = Deviation {
    operation: "Subscriptions_List",
    side: Side::Response,
    rule: Rule::UnknownField,
    at: "count",
    why: "Azure says so in every recording",
};

/// Where the list of subscriptions goes on.
pub(crate) const NO_MORE: Deviation = Deviation {
    operation: "Subscriptions_List",
    side: Side::Response,
    rule: Rule::MissingField,
    at: "nextLink",
    why: "where all are on one page there is none",
};

/// What every interface says in a list as well.
pub(crate) const NIC_KIND: Deviation = Deviation {
    operation: "NetworkInterfaces_List",
    side: Side::Response,
    rule: Rule::UnknownField,
    at: "value[].kind",
    why: "every interface says 'Regular'",
};

/// The same.
pub(crate) const NIC_MAIL: Deviation = Deviation {
    at: "value[].properties.allowPort25Out",
    why: "every interface says whether mail can leave it",
    ..NIC_KIND
};

/// Passes when all that the local Azure was asked and has answered keeps to the documents, but for
/// exactly these.
///
/// # Panics
/// With what does not, and with what is listed and is not found.
pub(crate) fn assert_judged(local: &Local, deviations: &'static [Deviation]) {
    if let Some(judge) = openapi::Judge::find() {
        let found = judge.judge(&local.emulator.requests());
        openapi::assert_explained(&found, deviations);
    }
}
