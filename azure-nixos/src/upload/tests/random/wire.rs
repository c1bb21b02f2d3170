//! The way to the service and back, on which things go wrong.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::Instant;

use super::answer::{Answer, refusal};
use super::asked::Asked;
use super::case::{Fault, Phase, Rule, When};
use super::service::{Service, State};

/// Chance that depends on nothing but its arguments.
pub(super) fn dice(seed: u64, what: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    hasher.finish()
}

impl State {
    /// What goes wrong with this request.
    fn draw(&mut self, asked: &Asked) -> Option<Fault> {
        if self.calm {
            return None;
        }
        let mut chosen = None;
        for (rule, hits) in self.case.rules.iter().zip(&mut self.run.hits) {
            let Rule {
                phase,
                skip,
                times,
                fault,
            } = *rule;
            if phase != asked.phase {
                continue;
            }
            let nth = *hits;
            *hits += 1;
            let due = u32::from(skip)..u32::from(skip) + u32::from(times);
            if due.contains(&nth) {
                chosen = chosen.or(Some(fault));
            }
        }
        let key = (asked.phase, asked.range.start, asked.nth);
        let die = dice(self.case.dice, &key);
        if chosen.is_none() && die % 1000 < self.case.noise {
            let millis = (die >> 32) as u16;
            chosen = Some(match (die >> 16) % 32 {
                0..6 => Fault::Status(503, "ServerBusy", None),
                6..8 => Fault::Status(503, "ServerBusy", Some((die >> 24) as u8 % 8)),
                8..10 => Fault::Status(429, "TooManyRequests", None),
                10..14 => Fault::Status(500, "InternalError", None),
                14 => Fault::TimedOut(die >> 24 & 1 == 0),
                15..18 => Fault::NoConnection,
                18..22 => Fault::ResetBefore,
                22..25 => Fault::ResetAfter,
                25..27 => Fault::BrokenAnswer,
                27..29 if asked.phase == Phase::Data => Fault::Late(millis),
                29 if asked.phase == Phase::Data && self.checksum(asked) => Fault::Damage,
                30 if die >> 24 & 7 == 0 => Fault::Silence(die >> 28 & 1 == 0),
                _ => Fault::Slow(millis / 8),
            });
        }
        // What was not protected is damaged without anybody's knowing: TLS keeps it away.
        if chosen == Some(Fault::Damage) && !self.checksum(asked) {
            chosen = None;
        }
        chosen
    }

    fn checksum(&self, asked: &Asked) -> bool {
        let has = |name| asked.headers.contains_key(name);
        self.case.service.crc64 && has("x-ms-content-crc64")
            || self.case.service.md5 && has("content-md5")
    }
}

fn error(kind: ErrorKind) -> azure_core::Error {
    azure_core::Error::with_message(kind, "the network of the test")
}

/// A request that is being answered. When the uploader goes away meanwhile, what it sent is done all
/// the same, or not.
struct OnItsWay {
    service: Service,
    asked: Asked,
    /// Whether it arrives when nobody waits for its answer any more.
    arrives: bool,
    succeeded: bool,
}

impl OnItsWay {
    fn serve(&mut self, damage: bool, lose: bool) -> Answer {
        self.arrives = false;
        self.service.state().serve(&self.asked, damage, lose)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut state = self.service.state();
        state.run.requests_in_flight -= 1;
        state.run.in_flight -= self.asked.body.len() as u64;
        if !self.succeeded {
            let key = (self.asked.phase, self.asked.range.start);
            *state.run.failures.entry(key).or_default() += 1;
        }
        if self.arrives {
            state.serve(&self.asked, false, false);
        }
    }
}

#[async_trait]
impl HttpClient for Service {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let (mut way, fault, wait, admitted) = {
            let mut state = self.state();
            let now = Instant::now();
            state.settle(now);
            let asked = match state.read(request) {
                Ok(asked) => asked,
                Err(why) => {
                    state.violation(why);
                    return Err(error(ErrorKind::Other));
                }
            };
            state.begun(&asked);
            if let Some(When::Request(nth)) = state.cut
                && state.run.requests >= usize::from(nth)
            {
                state.reached.cancel();
            }
            let fault = state.draw(&asked);
            if let Some(fault) = fault {
                state.run.faults.insert((asked.phase, fault));
            }
            if fault == Some(Fault::Expire) {
                state.run.expired += 1;
                state.valid_from = state.issued.len() as u64;
            }
            let admitted = state.admits(&asked.signature);
            if !admitted {
                state.run.refusals += 1;
            }
            let key = (asked.phase, asked.range.start);
            let die = dice(state.case.dice, &(key, asked.nth, "wait"));
            let latency = state.case.service.latency;
            let way = OnItsWay {
                service: self.clone(),
                arrives: die >> 60 & 1 == 0 && admitted,
                succeeded: false,
                asked,
            };
            let wait = Duration::from_millis(die % (latency + 1));
            (way, fault, wait, admitted)
        };
        tokio::time::sleep(wait).await;
        if !admitted {
            way.arrives = false;
            return Ok(respond(refusal(403, "AuthenticationFailed")));
        }
        let (answer, broken) = self.answer(&mut way, fault).await?;
        // What a write has come to is in the head of the answer.
        let read = matches!(way.asked.phase, Phase::List | Phase::Get);
        way.succeeded = !(broken && read) && matches!(answer.0, 200..=299);
        if way.succeeded && way.asked.phase == Phase::Data {
            let range = way.asked.range.clone();
            let mut state = self.state();
            state.acknowledged.push((Instant::now(), range));
        }
        if !broken {
            return Ok(respond(answer));
        }
        let (status, headers, body) = answer;
        let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
        let parts = [Ok(half), Err(error(ErrorKind::Io))];
        let body = futures::stream::iter(parts).boxed();
        Ok(AsyncRawResponse::new(status.into(), head(headers), body))
    }
}

fn respond((status, headers, body): Answer) -> AsyncRawResponse {
    AsyncRawResponse::from_bytes(status.into(), head(headers), body)
}

fn head(headers: Vec<(&'static str, String)>) -> Headers {
    let mut all = Headers::new();
    for (name, value) in headers {
        all.insert(name, value);
    }
    all
}

impl Service {
    /// The answer, and whether it breaks off.
    async fn answer(
        &self,
        way: &mut OnItsWay,
        fault: Option<Fault>,
    ) -> azure_core::Result<(Answer, bool)> {
        let whole = |answer| Ok((answer, false));
        if fault == Some(Fault::NoConnection) {
            way.arrives = false;
            return Err(error(ErrorKind::Connection));
        }
        let slow = {
            let state = self.state();
            let window = way.asked.range.end - way.asked.range.start;
            let most = state.case.service.list_most;
            way.asked.phase == Phase::List && most.is_some_and(|most| window > most << 20)
        };
        match fault {
            _ if slow => {
                tokio::time::sleep(Duration::from_secs(30)).await;
                whole(refusal(500, "OperationTimedOut"))
            }
            Some(Fault::Status(status, code, after)) => {
                way.arrives = false;
                let (status, mut headers, body) = refusal(status, code);
                if let Some(after) = after {
                    headers.push(("retry-after", after.to_string()));
                }
                whole((status, headers, body))
            }
            Some(Fault::TimedOut(done)) => {
                if done {
                    way.serve(false, false);
                }
                way.arrives = false;
                tokio::time::sleep(Duration::from_secs(30)).await;
                whole(refusal(500, "OperationTimedOut"))
            }
            Some(Fault::ResetBefore) => {
                way.arrives = false;
                Err(error(ErrorKind::Io))
            }
            Some(Fault::ResetAfter) => {
                way.serve(false, false);
                Err(error(ErrorKind::Io))
            }
            Some(Fault::BrokenAnswer) => Ok((way.serve(false, false), true)),
            Some(Fault::Silence(done)) => {
                if done {
                    way.serve(false, false);
                }
                way.arrives = false;
                std::future::pending().await
            }
            Some(Fault::Slow(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis.into())).await;
                whole(way.serve(false, false))
            }
            Some(Fault::Late(millis)) => {
                way.arrives = false;
                let at = Instant::now() + Duration::from_millis(millis.into());
                let bytes = Bytes::copy_from_slice(&way.asked.body);
                let refused = self.state().refused_checksum(&way.asked, &bytes);
                if refused.is_none() {
                    self.state().late.push((at, way.asked.range.start, bytes));
                }
                Err(error(ErrorKind::Io))
            }
            Some(Fault::Garbled) => {
                let (status, headers, mut body) = way.serve(false, false);
                body.truncate(body.len() / 2);
                whole((status, headers, body))
            }
            Some(Fault::Damage) => whole(way.serve(true, false)),
            Some(Fault::Lost) => whole(way.serve(false, true)),
            Some(Fault::NoConnection | Fault::Expire) | None => whole(way.serve(false, false)),
        }
    }
}
