//! Faults as Resource Manager has them: an update that is lost, a token that expires early, an
//! answer by rule.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::answer::Result;
use super::call::Call;
use super::error::ArmError;
use super::lro::{Operation, Work};
use super::resources::set_state;
use super::{Arm, Context, copy, vms};
use crate::fault::FaultAction;
use crate::login;
use crate::state::Inner;

/// How many tokens are remembered that expired early. Each of them ends by itself within an hour.
const REMEMBERED: usize = 1000;

/// What becomes of a request that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is carried out.
    Carried,
    /// It is answered as if it were.
    Lost,
    /// It is accepted, and what it begins fails.
    Fails { code: String, message: String },
}

impl From<&FaultAction> for Fate {
    fn from(action: &FaultAction) -> Self {
        match action {
            FaultAction::LoseUpdate => Self::Lost,
            FaultAction::FailOperation { code, message } => Self::Fails {
                code: code.clone(),
                message: message_of(code, message.as_deref()),
            },
            _ => Self::Carried,
        }
    }
}

fn message_of(code: &str, message: Option<&str>) -> String {
    message.map_or_else(|| format!("An injected fault: {code}."), str::to_owned)
}

impl Context<'_> {
    /// Serves a request whose operations are going to fail.
    pub(super) fn serve_failing(
        &mut self,
        serve: impl FnOnce(&mut Context<'_>) -> Result,
        code: &str,
        message: &str,
    ) -> Result {
        let before: HashSet<Uuid> = self.state.operations.keys().copied().collect();
        let answer = serve(self);
        for (id, operation) in &mut self.state.operations {
            if !before.contains(id) && operation.is_running() {
                operation.work = Work::Failing {
                    seems: Box::new(operation.work.clone()),
                    code: code.to_owned(),
                    message: message.to_owned(),
                };
            }
        }
        answer
    }

    /// The end of an operation that was to fail; `None` while it has to wait for something.
    pub(super) fn fail(
        &mut self,
        operation: &Operation,
        seems: &Work,
        code: &str,
        message: &str,
    ) -> Option<Result<Option<Value>>> {
        let failure = || ArmError::compute(409, code, message);
        let mut seeming = Operation {
            work: seems.clone(),
            ..operation.clone()
        };
        let resource = operation.resource.as_str();
        // The guest does not report; the machine is there, and runs.
        if code.starts_with("OSProvisioning") {
            let result = self.finish(&seeming)?;
            if result.is_ok() {
                set_state(self.state.resource_mut(resource), "Failed");
            }
            return Some(result.and_then(|_| Err(failure())));
        }
        if let Some(copying) = seeming.work.copying_mut() {
            // As if the copy had failed, which leaves no files.
            copying.result.as_ref()?;
            for (_, to) in &copying.files {
                copy::discard(to);
            }
            copying.result = Some(Err(message.to_owned()));
            // Its own error would be of this service.
            let _ = self.finish(&seeming)?;
            return Some(Err(failure()));
        }
        if matches!(seems, Work::GroupDeleted) {
            if let Some(group) = self.state.groups.get_mut(&resource.to_ascii_lowercase()) {
                group.deleting = false;
            }
        } else {
            set_state(self.state.resource_mut(resource), "Failed");
            vms::power_failed(self, resource);
        }
        Some(Err(failure()))
    }

    /// Answers as if the request had been carried out, and leaves everything as it was.
    ///
    /// The request is carried out on the state, which is then put back. What long operations began
    /// stays to be asked after, and they succeed; what they still had to do is not done.
    pub(crate) fn lose(&mut self, serve: impl FnOnce(&mut Context<'_>) -> Result) -> Result {
        let before = self.state.clone();
        self.arm.is_losing.store(true, Ordering::Relaxed);
        let answer = serve(self);
        self.arm.is_losing.store(false, Ordering::Relaxed);
        let after = std::mem::replace(self.state, before);
        let output = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.body.clone())
            .map(finished);
        for (id, mut operation) in after.operations {
            // Those from before are as they were.
            self.state.operations.entry(id).or_insert_with(|| {
                operation.work = Work::Lost {
                    seems: Box::new(operation.work),
                    output: output.clone(),
                };
                operation
            });
        }
        for (id, resource) in after.resources {
            if !self.state.resources.contains_key(&id)
                && let Inner::Disk(disk) = resource.inner
                // Most disks get their file when the operation ends; then there is none here.
                && let Err(error) = self.arm.blobs().remove(disk.blob)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, id, "the file of a lost disk stays");
            }
        }
        answer
    }
}

/// A resource as it would be when its operation has ended.
fn finished(mut body: Value) -> Value {
    if let Some(state) = body.pointer_mut("/properties/provisioningState") {
        *state = json!("Succeeded");
    }
    body
}

impl Arm {
    /// Whether the request that is being answered is to leave nothing behind.
    pub(crate) fn is_losing(&self) -> bool {
        // Set and read by the thread that holds the state.
        self.is_losing.load(Ordering::Relaxed)
    }

    /// The answer that a rule asks for: in the form of the login service for a token, else in that
    /// of Resource Manager.
    pub(super) fn respond_by_rule(
        &self,
        call: &Call,
        status: u16,
        code: &str,
        message: Option<&str>,
        headers: &[(String, String)],
    ) -> Response<Body> {
        let message = message_of(code, message);
        let mut response = login::refused(call, status, code, &message, self.clock.now())
            .unwrap_or_else(|| {
                let error = ArmError::compute(status, code, message);
                self.respond(call, error.into(), true)
            });
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Lets the token of a request expire.
    pub(crate) fn expire_token(&self, call: &Call) {
        let Some(authorization) = &call.authorization else {
            return;
        };
        let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        if expired.len() == REMEMBERED {
            expired.pop_front();
        }
        expired.push_back(Sha256::digest(authorization.as_bytes()).into());
    }

    /// The time by which the token of a request is judged: for one that was let expire, the time
    /// at which it would have by itself.
    pub(crate) fn time_for(&self, call: &Call, now: SystemTime) -> SystemTime {
        let expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(authorization) = call.authorization.as_ref().filter(|_| !expired.is_empty())
        else {
            return now;
        };
        let token: [u8; 32] = Sha256::digest(authorization.as_bytes()).into();
        if expired.contains(&token) {
            now + login::LIFETIME
        } else {
            now
        }
    }
}
