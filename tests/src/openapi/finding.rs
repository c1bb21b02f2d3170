//! What the judge finds.

use std::fmt;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The client's.
    Request,
    /// The service's.
    Response,
}

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// No document has an operation at this method and path.
    Operation,
    /// An api-version that neither a document nor a recording has.
    ApiVersion,
    /// A query parameter that the operation does not have.
    UnknownQuery,
    /// A parameter or a body that the operation has to have.
    MissingParameter,
    /// The value of a query or path parameter.
    ParameterValue,
    /// A body where the operation has none.
    UnexpectedBody,
    /// A status that the operation does not have.
    Status,
    /// A field that the schema does not have.
    UnknownField,
    /// A field that the schema asks for.
    MissingField,
    /// A value of another type.
    Type,
    /// A value of the right type in a wrong form: a date, a uuid, a pattern, a limit.
    Format,
    /// A value that is not of the enumeration.
    Enumeration,
    /// The same in other upper and lower case, which Azure takes.
    EnumerationCase,
    /// A field that only the service sets, in a request. Azure ignores it.
    ReadOnly,
}

impl Rule {
    /// Whether Azure refuses it or a strict client cannot read it. The rest is bad style.
    #[must_use]
    pub fn is_error(self) -> bool {
        !matches!(self, Self::EnumerationCase | Self::ReadOnly)
    }
}

/// A breach of the official documents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Finding {
    /// The operation's id, `Disks_CreateOrUpdate`; method and path where there is none.
    pub operation: String,
    /// Whose fault it is.
    pub side: Side,
    /// The rule.
    pub rule: Rule,
    /// Where: `properties.dataDisks[].lun`, or the name of a parameter.
    pub at: String,
    /// In words.
    pub message: String,
    /// The request: its method, path and query.
    pub request: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} {:?} at '{}': {} ({})",
            self.operation, self.side, self.rule, self.at, self.message, self.request
        )
    }
}

/// A breach that stays, and why.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// The operation's id; a `*` at its end stands for anything.
    pub operation: &'static str,
    /// Whose fault it is.
    pub side: Side,
    /// The rule.
    pub rule: Rule,
    /// Where; a `*` at its end stands for anything.
    pub at: &'static str,
    /// Why it stays.
    pub why: &'static str,
}

impl Deviation {
    fn covers(&self, finding: &Finding) -> bool {
        self.side == finding.side
            && self.rule == finding.rule
            && matches(self.operation, &finding.operation)
            && matches(self.at, &finding.at)
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => text == pattern,
    }
}

/// The errors that no deviation covers, one of each kind, and the deviations that cover nothing.
#[must_use]
pub fn unexplained(
    findings: &[Finding],
    deviations: &'static [Deviation],
) -> (Vec<Finding>, Vec<&'static Deviation>) {
    let mut left: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.rule.is_error())
        .filter(|finding| !deviations.iter().any(|deviation| deviation.covers(finding)))
        .cloned()
        .collect();
    left.sort();
    left.dedup_by(|a, b| {
        (&a.operation, a.side, a.rule, &a.at) == (&b.operation, b.side, b.rule, &b.at)
    });
    let unused = deviations
        .iter()
        .filter(|deviation| !findings.iter().any(|finding| deviation.covers(finding)))
        .collect();
    (left, unused)
}

/// Passes when every error is a listed deviation or one of Azure's own ([`AZURE`](super::AZURE)), and
/// every listed deviation occurs.
///
/// # Panics
/// With all that is left, otherwise.
pub fn assert_explained(findings: &[Finding], deviations: &'static [Deviation]) {
    let others: Vec<Finding> = findings
        .iter()
        .filter(|finding| {
            let mut azure = super::AZURE.iter().chain(super::AZURE_ELSEWHERE);
            !azure.any(|azure| azure.covers(finding))
        })
        .cloned()
        .collect();
    assert_exact(&others, deviations);
}

/// Passes when every error is a listed deviation and every listed deviation occurs.
///
/// # Panics
/// With all that is left, otherwise.
pub fn assert_exact(findings: &[Finding], deviations: &'static [Deviation]) {
    let (left, unused) = unexplained(findings, deviations);
    let mut text = String::new();
    for finding in &left {
        text += &format!("  {finding}\n");
    }
    for deviation in &unused {
        text += &format!("  listed, but does not occur any more: {deviation:?}\n");
    }
    assert!(text.is_empty(), "against the official documents:\n{text}");
}
