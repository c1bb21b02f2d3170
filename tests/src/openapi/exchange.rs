//! A request and its answer, wherever they were recorded.

use azure_nixos_emulator::RecordedRequest;
use serde_json::Value;

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// `GET`, `PUT` …
    pub method: String,
    /// As sent, with all query parameters.
    pub path_and_query: String,
    /// The `api-version` of the query, where there was one.
    pub api_version: Option<String>,
    /// The body, where it was JSON; null where it was something else.
    pub body: Option<Value>,
    /// The status of the answer; 0 when there was none.
    pub status: u16,
    /// The headers of the answer, names in lower case.
    pub response_headers: Vec<(String, String)>,
    /// The document of the answer, where it had one.
    pub response_body: Option<Value>,
}

impl Exchange {
    /// A header of the answer; its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response_headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

impl From<&RecordedRequest> for Exchange {
    fn from(request: &RecordedRequest) -> Self {
        Self {
            method: request.method.clone(),
            path_and_query: request.path_and_query.clone(),
            api_version: request.api_version.clone(),
            // Null stands for what was sent and is no JSON: nobody can judge that.
            body: request
                .body
                .clone()
                .or((request.body_length > 0).then_some(Value::Null)),
            status: request.status,
            response_headers: request.response_headers.clone(),
            response_body: request.response_body.clone(),
        }
    }
}
