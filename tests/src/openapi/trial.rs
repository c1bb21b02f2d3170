//! One trial: requests in the order in which they were sent, each held against its operation.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::documents::{Documents, Node};
use super::exchange::Exchange;
use super::finding::{Finding, Rule, Side};
use super::operations::{self, Operation};
use super::schema::{Breach, Checker, Direction};
use super::versions::Versions;

/// Fields that are newer than the documents: the end of an operation's id, the field, the first
/// version that has it.
const NEWER_FIELDS: &[(&str, &str, &str)] = &[
    ("VirtualMachines_CreateOrUpdate", "etag", "2024-11-01"),
    ("VirtualMachines_Get", "etag", "2024-11-01"),
];

/// What is asked of services whose documents are not at hand: types in lower case, and beginnings of
/// paths.
const UNDOCUMENTED: &[&str] = &[
    "/providers/microsoft.compute/snapshots",
    "/providers/microsoft.storage/storageaccounts",
    // Microsoft Graph.
    "/v1.0/",
];

/// What a URL that was given out in a header is good for.
#[derive(Clone, Copy)]
enum Poll {
    /// `Azure-AsyncOperation`: a status.
    Status,
    /// `Location`: the result.
    Result,
}

pub(super) struct Trial<'a> {
    documents: &'a Documents,
    operations: Vec<Operation<'a>>,
    versions: Versions,
    /// By path and query: what was started there.
    polled: BTreeMap<String, (Poll, Operation<'a>)>,
    /// By path and query: questions after what no document is about.
    unjudged: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        documents: &'a Documents,
        operations: Vec<Operation<'a>>,
        versions: Versions,
    ) -> Self {
        Self {
            documents,
            operations,
            versions,
            polled: BTreeMap::new(),
            unjudged: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    pub(super) fn findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Judges one request and its answer.
    pub(super) fn hear(&mut self, request: &Exchange) {
        let folded = request.path_and_query.to_ascii_lowercase();
        let is_documented = !UNDOCUMENTED.iter().any(|kind| folded.contains(kind));
        if !is_documented || self.unjudged.contains(&request.path_and_query) {
            self.unjudged.extend(urls_of(request).map(|(_, url)| url));
            return;
        }
        if let Some((poll, operation)) = self.polled.get(&request.path_and_query).copied() {
            self.hear_poll(request, poll, operation);
            return;
        }
        let (path, query) = request
            .path_and_query
            .split_once('?')
            .unwrap_or((&request.path_and_query, ""));
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let version = request.api_version.as_deref();
        let Some(operation) = operations::find(&self.operations, &request.method, &path, version)
        else {
            let breach = (
                Rule::Operation,
                String::new(),
                "no document has it".to_owned(),
            );
            let name = format!("{} {}", request.method, without_names(&path));
            self.report(request, &name, Side::Request, vec![breach]);
            return;
        };
        let breaches = self.request(request, operation, &path, query);
        self.report(request, operation.id, Side::Request, breaches);
        let breaches = self.response(request, operation);
        self.report(request, operation.id, Side::Response, breaches);
        self.remember(request, operation);
    }

    fn report(&mut self, request: &Exchange, operation: &str, side: Side, found: Vec<Breach>) {
        let version = request.api_version.as_deref().unwrap_or_default();
        for (rule, at, message) in found {
            let newer = rule == Rule::UnknownField
                && NEWER_FIELDS.iter().any(|(own, field, since)| {
                    operation.ends_with(own) && at == *field && version >= *since
                });
            if newer {
                continue;
            }
            self.findings.push(Finding {
                operation: operation.to_owned(),
                side,
                rule,
                at,
                message,
                request: format!("{} {}", request.method, shortened(&request.path_and_query)),
            });
        }
    }

    /// The URLs of the answer, where it began something.
    fn remember(&mut self, request: &Exchange, operation: Operation<'a>) {
        self.polled
            .extend(urls_of(request).map(|(poll, url)| (url, (poll, operation))));
    }

    fn request(
        &self,
        request: &Exchange,
        operation: Operation<'a>,
        path: &[&str],
        query: &str,
    ) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let parameters = operation.parameters(self.documents);
        let direction = if operation.method == "patch" {
            Direction::Update
        } else {
            Direction::Create
        };
        let mut checker = Checker {
            documents: self.documents,
            direction,
            breaches: Vec::new(),
        };
        let in_path = operation.in_path(path);
        let in_query: Vec<(String, String)> = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        match request.api_version.as_deref() {
            None => breaches.push(missing("api-version")),
            Some(version) if !self.versions.has(path, version) => breaches.push((
                Rule::ApiVersion,
                "api-version".to_owned(),
                format!("no document and no recording has {version}"),
            )),
            Some(_) => {}
        }
        for (name, _) in &in_query {
            let known = name.eq_ignore_ascii_case("api-version")
                || parameters.iter().any(|parameter| {
                    parameter.place == "query" && parameter.name.eq_ignore_ascii_case(name)
                });
            if !known {
                let message = "the operation has no such parameter".to_owned();
                breaches.push((Rule::UnknownQuery, name.clone(), message));
            }
        }
        for parameter in &parameters {
            let value = match parameter.place {
                "query" => in_query
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(parameter.name))
                    .map(|(_, value)| value.clone()),
                "path" => in_path
                    .iter()
                    .find(|(name, _)| *name == parameter.name)
                    .map(|(_, value)| decoded(value)),
                "body" => {
                    let schema = self.documents.child(parameter.node, "schema");
                    match (&request.body, schema) {
                        (Some(body), Some(schema)) => checker.check(schema, body, ""),
                        (None, _) if parameter.required => breaches.push(missing("the body")),
                        _ => {}
                    }
                    continue;
                }
                // Headers are not recorded.
                _ => continue,
            };
            match value {
                _ if parameter.name == "api-version" => {}
                Some(value) => {
                    self.parameter(parameter.node, &value, parameter.name, &mut breaches);
                }
                None if parameter.required && parameter.place == "query" => {
                    breaches.push(missing(parameter.name));
                }
                None => {}
            }
        }
        let takes_body = parameters.iter().any(|parameter| parameter.place == "body");
        if request.body.is_some() && !takes_body {
            let message = "the operation takes none".to_owned();
            breaches.push((Rule::UnexpectedBody, String::new(), message));
        }
        breaches.extend(checker.breaches);
        breaches
    }

    /// A parameter outside of the body is text, whatever its type.
    fn parameter(&self, node: Node<'a>, text: &str, name: &str, into: &mut Vec<Breach>) {
        let value = match node.value["type"].as_str() {
            Some("integer" | "number") => serde_json::from_str(text).unwrap_or(Value::from(text)),
            Some("boolean") => text.parse().map_or(Value::from(text), Value::Bool),
            _ => Value::from(text),
        };
        let mut checker = Checker {
            documents: self.documents,
            direction: Direction::Create,
            breaches: Vec::new(),
        };
        checker.check(node, &value, name);
        into.extend(
            checker
                .breaches
                .into_iter()
                .map(|(rule, at, message)| match rule {
                    Rule::EnumerationCase => (rule, at, message),
                    _ => (Rule::ParameterValue, at, message),
                }),
        );
    }

    fn response(&self, request: &Exchange, operation: Operation<'a>) -> Vec<Breach> {
        // The connection was closed.
        if request.status == 0 {
            return Vec::new();
        }
        if request.status >= 400 {
            return self.failure(request, operation);
        }
        let Some(declared) = operation.response(self.documents, request.status) else {
            let file = operation.file().file_name().unwrap_or_default();
            return vec![(
                Rule::Status,
                request.status.to_string(),
                format!("{} does not have it", file.display()),
            )];
        };
        self.body(
            self.documents.child(declared, "schema"),
            request.response_body.as_ref(),
        )
    }

    /// An error, whose status need not be declared: Resource Manager itself answers with any.
    fn failure(&self, request: &Exchange, operation: Operation<'a>) -> Vec<Breach> {
        let schema = operation
            .response(self.documents, request.status)
            .and_then(|declared| self.documents.child(declared, "schema"))
            .unwrap_or_else(|| {
                let file = "resource-management/v5/types.json";
                self.documents.definition(file, "ErrorResponse")
            });
        self.body(Some(schema), request.response_body.as_ref())
    }

    /// An answered document against its schema.
    fn body(&self, schema: Option<Node<'a>>, body: Option<&Value>) -> Vec<Breach> {
        let mut checker = Checker {
            documents: self.documents,
            direction: Direction::Read,
            breaches: Vec::new(),
        };
        match (schema, body) {
            (Some(schema), Some(body)) => checker.check(schema, body, ""),
            (None, Some(_)) => {
                let message = "the status is declared without one".to_owned();
                checker
                    .breaches
                    .push((Rule::UnexpectedBody, String::new(), message));
            }
            // A declared schema says what a body looks like, not that there is one.
            (_, None) => {}
        }
        checker.breaches
    }

    /// A question after an operation, at the URL that was given out for it.
    fn hear_poll(&mut self, request: &Exchange, poll: Poll, operation: Operation<'a>) {
        let name = format!(
            "{} {}",
            operation.id,
            match poll {
                Poll::Status => "status",
                Poll::Result => "result",
            }
        );
        if request.method != "GET" {
            let breach = (
                Rule::Operation,
                String::new(),
                "it is read with GET".to_owned(),
            );
            self.report(request, &name, Side::Request, vec![breach]);
        }
        self.remember(request, operation);
        if request.status == 0 {
            return;
        }
        let breaches = match (poll, request.status) {
            (Poll::Status, 200) => self.status(request, operation),
            (Poll::Result, 202 | 204) if request.response_body.is_none() => Vec::new(),
            (Poll::Result, 200) => {
                let declared = operation.response(self.documents, 200);
                let schema = declared.and_then(|node| self.documents.child(node, "schema"));
                self.body(schema, request.response_body.as_ref())
            }
            (_, 400..) => self.failure(request, operation),
            (_, status) => vec![(
                Rule::Status,
                status.to_string(),
                "not for a poll".to_owned(),
            )],
        };
        self.report(request, &name, Side::Response, breaches);
    }

    /// The document behind `Azure-AsyncOperation`: the common one with the result of the operation
    /// inside, or the network provider's own.
    fn status(&self, request: &Exchange, operation: Operation<'a>) -> Vec<Breach> {
        let is_network = operation
            .file()
            .components()
            .any(|part| part.as_os_str() == "network");
        let schema = if is_network {
            self.documents
                .definition("network.json", "AzureAsyncOperationResult")
        } else {
            self.documents
                .definition("resource-management/v5/types.json", "OperationStatusResult")
        };
        let Some(Value::Object(mut fields)) = request.response_body.clone() else {
            return vec![(Rule::Type, String::new(), "no object".to_owned())];
        };
        // Neither document has the place where disks put their result.
        let output = (!is_network)
            .then(|| fields.remove("properties"))
            .flatten()
            .and_then(|mut properties| properties.get_mut("output").map(Value::take));
        let mut breaches = self.body(Some(schema), Some(&Value::Object(fields)));
        if let Some(output) = output {
            let declared = operation.response(self.documents, 200);
            let schema = declared.and_then(|node| self.documents.child(node, "schema"));
            let inside = self.body(schema, Some(&output));
            breaches.extend(
                inside
                    .into_iter()
                    .map(|(rule, at, message)| (rule, format!("properties.output.{at}"), message)),
            );
        }
        breaches
    }
}

/// The URLs of an answer at which a client asks on, as path and query.
fn urls_of(request: &Exchange) -> impl Iterator<Item = (Poll, String)> + '_ {
    request.response_headers.iter().filter_map(|(name, value)| {
        let poll = match name.as_str() {
            "azure-asyncoperation" => Poll::Status,
            // Of a finished answer it only says where the resource is.
            "location" if request.status == 202 => Poll::Result,
            _ => return None,
        };
        let (_, rest) = value.split_once("://")?;
        Some((poll, rest[rest.find('/')?..].to_owned()))
    })
}

fn missing(what: &str) -> Breach {
    (
        Rule::MissingParameter,
        what.to_owned(),
        "required".to_owned(),
    )
}

/// A path whose every second part is a name.
fn without_names(path: &[&str]) -> String {
    path.iter()
        .enumerate()
        .map(|(at, part)| {
            let is_namespace = at > 0 && path[at - 1].eq_ignore_ascii_case("providers");
            if at % 2 == 1 && !is_namespace {
                "/*".to_owned()
            } else {
                format!("/{part}")
            }
        })
        .collect()
}

/// The URLs of operations are kilobytes long.
fn shortened(path_and_query: &str) -> String {
    path_and_query.chars().take(220).collect()
}

/// Percent-decoded, as far as it can be.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
