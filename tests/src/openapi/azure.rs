//! Where Azure itself does not keep to its documents, by the recordings of it.

use super::finding::{Deviation, Rule, Side};

/// What Azure answers against Microsoft's documents. The local Azure may do the same.
pub const AZURE: &[Deviation] = &[
    answers(
        "Disks_CreateOrUpdate",
        Rule::UnknownField,
        "properties.isArmResource",
        "the first answer to a PUT says it under version 2019-03-01; no document has it",
    ),
    answers(
        "NetworkInterfaces_*",
        Rule::UnknownField,
        "kind",
        "every interface says 'Regular'",
    ),
    answers(
        "NetworkInterfaces_*",
        Rule::UnknownField,
        "properties.allowPort25Out",
        "every interface says whether mail can leave it",
    ),
    answers(
        "RoleAssignments_Create",
        Rule::Type,
        "properties.createdBy",
        "null in the answer to a PUT, the creator in that to a GET",
    ),
    answers(
        "RoleAssignments_*",
        Rule::Type,
        "properties.delegatedManagedIdentityResourceId",
        "null where there is none, instead of being absent",
    ),
];

/// The same in recordings other than those that are held against the documents: of whole runs of
/// Microsoft's own tests.
pub const AZURE_ELSEWHERE: &[Deviation] = &[
    answers(
        "RoleAssignments_*",
        Rule::Type,
        "properties.condition",
        "null where there is none, instead of being absent",
    ),
    answers(
        "RoleAssignments_*",
        Rule::Type,
        "properties.conditionVersion",
        "null where there is none, instead of being absent",
    ),
    answers(
        "RoleAssignments_*",
        Rule::Type,
        "properties.description",
        "null where there is none, instead of being absent",
    ),
    answers(
        "RoleAssignments_List*",
        Rule::Type,
        "value[].properties.*",
        "null where there is none, instead of being absent",
    ),
    answers(
        "RoleDefinitions_List",
        Rule::Type,
        "value[].properties.createdBy",
        "null for the roles that are built in",
    ),
    answers(
        "RoleDefinitions_List",
        Rule::Type,
        "value[].properties.updatedBy",
        "null for the roles that are built in",
    ),
    answers(
        "NetworkInterfaces_*",
        Rule::UnknownField,
        "value[].kind",
        "the same in a list",
    ),
    answers(
        "NetworkInterfaces_*",
        Rule::UnknownField,
        "value[].properties.allowPort25Out",
        "the same in a list",
    ),
    answers(
        "Subscriptions_List",
        Rule::UnknownField,
        "count",
        "the list of subscriptions says how many there are",
    ),
    answers(
        "Subscriptions_List",
        Rule::MissingField,
        "nextLink",
        "the documents ask for it, also where nothing comes after",
    ),
];

const fn answers(
    operation: &'static str,
    rule: Rule,
    at: &'static str,
    why: &'static str,
) -> Deviation {
    Deviation {
        operation,
        side: Side::Response,
        rule,
        at,
        why,
    }
}
