//! What was asked and what was answered, for the tests that look at it afterwards.

use std::collections::VecDeque;

use axum::http::HeaderMap;
use serde_json::Value;

use super::call::Call;
use crate::emulator::RecordedRequest;
use crate::fault::Plane;
use crate::operation::Operation;

/// How many requests are remembered.
const REMEMBERED: usize = 10_000;

/// How many bytes of bodies are remembered, both ways together. Lists of sizes are long.
const BYTES: usize = 64 << 20;

/// The most recent requests with their answers, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<(usize, RecordedRequest)>,
    bytes: usize,
}

/// An answer as it is remembered; `None` stands for a connection that was closed instead.
pub(crate) struct Answered<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Option<Value>,
    /// How long the body is.
    pub(crate) length: usize,
}

impl Journal {
    pub(crate) fn add(&mut self, call: &Call, answered: Option<Answered<'_>>) {
        let size = call.body.len() + answered.as_ref().map_or(0, |answered| answered.length);
        while let Some((oldest, _)) = self.entries.front()
            && (self.entries.len() >= REMEMBERED || self.bytes + size > BYTES)
        {
            self.bytes -= oldest;
            self.entries.pop_front();
        }
        let headers = answered
            .iter()
            .flat_map(|answered| answered.headers)
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        self.bytes += size;
        self.entries.push_back((
            size,
            RecordedRequest {
                method: call.method.to_string(),
                operation: Operation::of_request(
                    Plane::Arm,
                    call.method.as_str(),
                    &call.path_and_query,
                ),
                path_and_query: call.path_and_query.clone(),
                api_version: call.query("api-version").map(ToOwned::to_owned),
                body: serde_json::from_slice::<Value>(&call.body).ok(),
                body_length: call.body.len(),
                status: answered.as_ref().map_or(0, |answered| answered.status),
                response_headers: headers,
                response_body: answered.and_then(|answered| answered.body),
            },
        ));
    }

    pub(crate) fn all(&self) -> Vec<RecordedRequest> {
        self.entries
            .iter()
            .map(|(_, entry)| entry.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use bytes::Bytes;

    use super::*;

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let call = |number: usize, length: usize| {
            let uri = format!("/{number}?api-version=1").parse().unwrap();
            Call::new(Method::PUT, &uri, None, Bytes::from(vec![b' '; length]))
        };
        let mut journal = Journal::default();
        for number in 0..100 {
            journal.add(&call(number, 1 << 20), None);
        }
        let all = journal.all();
        assert_eq!(all.len(), 64);
        assert_eq!(all[0].path_and_query, "/36?api-version=1");
        assert_eq!((all[63].status, &all[63].body), (0, &None));
        for number in 0..=REMEMBERED {
            journal.add(&call(number, 0), None);
        }
        assert_eq!(journal.all().len(), REMEMBERED);
        assert_eq!(journal.bytes, 0);
    }
}
