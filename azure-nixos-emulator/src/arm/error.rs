//! The errors that Resource Manager and the resource providers answer with.
//!
//! Codes and messages are Azure's where a recording, the documentation or a public report shows
//! them. Where none does, the code is the nearest one that Azure has.

use std::fmt::Display;

use serde_json::{Value, json};

use super::id::Kind;

/// Which of the envelopes of the services an error comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Resource Manager itself; marked by the header `x-ms-failure-cause: gateway`.
    Gateway,
    /// A compute or disk provider.
    Provider,
    /// The network provider, which always adds `details`.
    Network,
}

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct ArmError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) target: Option<String>,
    pub(crate) origin: Origin,
    /// What is inside of it, where that is more than an empty list.
    pub(crate) details: Option<Box<Value>>,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl ArmError {
    fn new(origin: Origin, status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            target: None,
            origin,
            details: None,
            headers: Vec::new(),
        }
    }

    /// An error of Resource Manager itself.
    pub(crate) fn gateway(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::new(Origin::Gateway, status, code, message)
    }

    /// An error of the compute or disk provider.
    pub(crate) fn compute(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::new(Origin::Provider, status, code, message)
    }

    /// An error of the network provider.
    pub(crate) fn network(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::new(Origin::Network, status, code, message)
    }

    /// The property concerned.
    pub(crate) fn with_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The errors inside of it.
    pub(crate) fn with_details(mut self, details: Vec<Value>) -> Self {
        self.details = Some(Box::new(Value::Array(details)));
        self
    }

    /// A header of its own.
    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Nothing is served at this path.
    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::gateway(
            404,
            "InvalidResourceType",
            format!("No resource type or operation of the local Azure is at '{path}'."),
        )
    }

    /// A method that the path does not have.
    pub(crate) fn no_such_method(method: &str) -> Self {
        Self::gateway(
            405,
            "MethodNotAllowed",
            format!("The requested resource does not support http method '{method}'."),
        )
    }

    /// Azure could, the local Azure cannot.
    pub(crate) fn not_implemented(what: impl Display) -> Self {
        Self::gateway(
            501,
            "NotImplemented",
            format!("The local Azure does not implement {what}."),
        )
    }

    /// The state directory failed, which is no fault of the client.
    pub(crate) fn internal(doing: &str, error: impl Display) -> Self {
        tracing::error!(%error, doing, "the state directory failed");
        Self::gateway(
            500,
            "InternalServerError",
            format!("The local Azure could not {doing}: {error}."),
        )
    }

    pub(crate) fn resource_not_found(kind: Kind, name: &str, group: &str) -> Self {
        Self::gateway(
            404,
            "ResourceNotFound",
            format!(
                "The Resource '{}/{}' under resource group '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
                kind.namespace(),
                kind.path(name)
            ),
        )
    }

    pub(crate) fn group_not_found(group: &str) -> Self {
        Self::gateway(
            404,
            "ResourceGroupNotFound",
            format!("Resource group '{group}' could not be found."),
        )
    }

    /// A required parameter that is missing, in the compute provider's words.
    pub(crate) fn missing_parameter(name: &str) -> Self {
        Self::compute(
            400,
            "InvalidParameter",
            format!("Required parameter '{name}' is missing (null)."),
        )
        .with_target(name)
    }

    /// A property that cannot be changed once the resource exists.
    pub(crate) fn property_change(name: &str) -> Self {
        Self::compute(
            409,
            "PropertyChangeNotAllowed",
            format!("Changing property '{name}' is not allowed."),
        )
        .with_target(name)
    }

    /// The envelope.
    pub(crate) fn body(&self) -> Value {
        json!({ "error": self.inner() })
    }

    /// What is in the envelope; also the `error` of a failed operation.
    pub(crate) fn inner(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(target) = &self.target {
            error["target"] = json!(target);
        }
        if let Some(details) = &self.details {
            error["details"] = Value::clone(details);
        } else if self.origin == Origin::Network {
            error["details"] = json!([]);
        }
        error
    }
}
