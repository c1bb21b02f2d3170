//! Microsoft's documents as the judge of what the clients asked and of what they were answered.

use azure_nixos_tests::Local;
use azure_nixos_tests::openapi::{Deviation, Finding, Judge, Rule, Side, assert_explained};

/// Holds every request of a test, and its answer, against the documents. `deviations` are those that
/// the clients of this test make; one that no longer occurs is an error too.
pub(crate) fn assert_by_the_documents(local: &Local, deviations: &'static [Deviation]) {
    let requests = local.emulator.requests();
    assert!(requests.len() > 5, "only {} requests", requests.len());
    // Without the documents this says aloud that it shows nothing.
    let Some(judge) = Judge::find() else {
        return;
    };
    let findings: Vec<Finding> = judge
        .judge(&requests)
        .into_iter()
        .filter(|finding| !is_a_version(finding))
        .collect();
    assert_explained(&findings, deviations);
}

/// Which versions exist is for Microsoft's own clients to say: they know more of them than the
/// documents and recordings that are at hand.
fn is_a_version(finding: &Finding) -> bool {
    finding.side == Side::Request && finding.rule == Rule::ApiVersion
}
