//! Requests that a part of the service makes to another.

use axum::http::{Method, Uri};
use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use super::answer::{Answer, Result};
use super::call::Call;
use super::error::ArmError;
use super::{Context, route};

/// The PUT of a resource, as it would come by HTTP. `is_of_template` is whether the case of its
/// properties does not matter.
pub(crate) fn put(
    context: &mut Context<'_>,
    id: &str,
    api_version: &str,
    document: &Value,
    is_of_template: bool,
) -> Result {
    let path: Vec<String> = id
        .split('/')
        .map(|part| url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>())
        .map(|part| part.replace('+', "%20"))
        .collect();
    let uri: Uri = format!("{}?api-version={api_version}", path.join("/"))
        .parse()
        .map_err(|error| ArmError::internal("put a resource for another", error))?;
    let mut call = Call::new(Method::PUT, &uri, None, Bytes::from(document.to_string()));
    call.is_of_template = is_of_template;
    route::answer(&mut Context {
        arm: context.arm,
        state: &mut *context.state,
        now: context.now,
        call: &call,
        api_version: "",
    })
}

/// The operation that an answer began.
pub(crate) fn operation_of(answer: &Answer) -> Option<Uuid> {
    let (_, url) = answer
        .headers
        .iter()
        .find(|(name, _)| *name == "azure-asyncoperation")?;
    let path = url.split('?').next()?;
    Uuid::parse_str(path.rsplit('/').next()?).ok()
}
