//! Azure Resource Manager, as far as disks, images, networks and virtual machines need it.
//!
//! [`Arm`] holds the state behind one lock. A request is answered by a plain function over that
//! state, on a thread that may block; nothing here is asynchronous but the reading of the body.
//! `route` decides who answers, one file per resource type does, `lro` knows what is under way.
//! Page data is the data plane's and is only created, granted, revoked and removed from here.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod clock_text;
mod copy;
mod disks;
pub(crate) mod error;
mod footer;
mod groups;
mod id;
mod images;
pub(crate) mod lro;
mod names;
mod network;
pub(crate) mod pace;
mod providers;
mod resources;
mod route;
mod shape;
mod skus;
mod storage;
mod subscriptions;
mod versions;
mod vms;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, Request, Response, header};
use serde_json::Value;
use tokio_util::task::TaskTracker;

use self::answer::Answer;
use self::call::Call;
use self::error::ArmError;
use self::pace::Timing;
use crate::azure_names::{self, BlobUrls};
use crate::blob::PageBlobs;
use crate::clock::Clock;
use crate::emulator::RecordedRequest;
use crate::fault::{self, FaultAction, Faults, Plane};
use crate::lock::StateLock;
use crate::login;
use crate::state::{Identity, Registration, State, Store};

/// The largest request body, which is Azure's own limit.
const LARGEST_BODY: usize = 4 << 20;

/// How many requests are remembered for tests.
const REMEMBERED: usize = 10_000;

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) state_dir: PathBuf,
    pub(crate) arm_url: String,
    pub(crate) blob_urls: BlobUrls,
    pub(crate) timing: Timing,
    pub(crate) durable: bool,
}

impl Settings {
    /// The file with the content of a disk, by the names that it was made with.
    pub(crate) fn disk_file(&self, group: &str, name: &str) -> PathBuf {
        self.file("disks", group, name)
    }

    pub(crate) fn image_file(&self, group: &str, name: &str) -> PathBuf {
        self.file("images", group, name)
    }

    fn file(&self, kind: &str, group: &str, name: &str) -> PathBuf {
        let directory = own_case(&self.state_dir.join(kind), group);
        own_case(&directory, &format!("{name}.vhd"))
    }
}

/// The entry of a directory that has this name in any case, as Azure compares names; where there is
/// none, the name as it is given.
fn own_case(directory: &Path, name: &str) -> PathBuf {
    let given = directory.join(name);
    if given.exists() {
        return given;
    }
    let found = std::fs::read_dir(directory).into_iter().flatten().flatten();
    found
        .filter(|entry| entry.file_name().eq_ignore_ascii_case(name))
        .map(|entry| entry.path())
        .next()
        .unwrap_or(given)
}

/// Resource Manager.
pub(crate) struct Arm {
    settings: Settings,
    store: Mutex<Store>,
    /// As it was read at the start; it never changes.
    identity: Identity,
    blobs: PageBlobs,
    clock: Clock,
    faults: Faults,
    requests: Mutex<VecDeque<RecordedRequest>>,
    copies: TaskTracker,
    _lock: StateLock,
}

/// What a handler works on.
pub(crate) struct Context<'a> {
    pub(crate) arm: &'a Arc<Arm>,
    pub(crate) state: &'a mut State,
    pub(crate) now: SystemTime,
    pub(crate) call: &'a Call,
    pub(crate) api_version: &'a str,
}

impl Arm {
    pub(crate) fn open(
        settings: Settings,
        store: Store,
        blobs: PageBlobs,
        clock: Clock,
        faults: Faults,
        lock: StateLock,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            identity: store.state.identity.clone(),
            store: Mutex::new(store),
            blobs,
            clock,
            faults,
            requests: Mutex::default(),
            copies: TaskTracker::new(),
            _lock: lock,
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn blobs(&self) -> &PageBlobs {
        &self.blobs
    }

    pub(crate) fn copies(&self) -> &TaskTracker {
        &self.copies
    }

    pub(crate) fn access_token(&self) -> String {
        login::token(
            &self.identity,
            &self.settings.arm_url,
            &self.settings.arm_url,
            self.clock.now(),
        )
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().cloned().collect()
    }

    /// Namespaces begin unregistered unless the state knows them.
    pub(crate) fn start_unregistered(&self, namespaces: &[String]) {
        self.change_state(|state| {
            for namespace in namespaces {
                state
                    .providers
                    .entry(namespace.to_ascii_lowercase())
                    .or_insert(Registration::NotRegistered);
            }
        });
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.store().state)
    }

    /// Changes the state outside of a request.
    fn change_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut store = self.store();
        let value = change(&mut store.state);
        if let Err(error) = store.save() {
            // The next request saves it, or tells its client that it cannot.
            tracing::error!(%error, "the state was not saved");
        }
        value
    }

    /// Answers a request. Blocks: on the lock, and on the files of the state.
    fn answer(self: &Arc<Self>, call: &Call) -> Answer {
        let now = self.clock.now();
        if let Err(error) = login::authenticate(
            &self.identity,
            call.authorization.as_deref(),
            now,
            &self.settings.arm_url,
        ) {
            return error.into();
        }
        let mut store = self.store();
        let mut context = Context {
            arm: self,
            state: &mut store.state,
            now,
            call,
            api_version: "",
        };
        let settled = context.settle();
        let answer = route::answer(&mut context).unwrap_or_else(Answer::from);
        if (settled || !call.method.is_safe())
            && let Err(error) = store.save()
        {
            return ArmError::internal("save its state", error).into();
        }
        answer
    }

    fn remember(&self, call: &Call, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(RecordedRequest {
            method: call.method.to_string(),
            path_and_query: call.path_and_query.clone(),
            api_version: call.query("api-version").map(ToOwned::to_owned),
            body: serde_json::from_slice::<Value>(&call.body).ok(),
            status,
        });
    }
}

/// The https server's requests: logins and Resource Manager.
pub(crate) fn router(arm: Arc<Arm>) -> Router {
    Router::new().fallback(serve).with_state(arm)
}

async fn serve(Extract(arm): Extract<Arc<Arm>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let action = arm
        .faults
        .before(Plane::Arm, parts.method.as_str(), path_and_query);
    let mut faulted = None;
    let mut reset_after = false;
    match action {
        FaultAction::ResetBefore => return fault::reset(),
        FaultAction::ResetAfter => reset_after = true,
        FaultAction::Stall(time) => {
            tokio::time::sleep(time).await;
            return fault::reset();
        }
        FaultAction::Delay(time) => tokio::time::sleep(time).await,
        FaultAction::Respond {
            status,
            code,
            headers,
        } => faulted = Some((status, code, headers)),
        FaultAction::None | FaultAction::ExpireAccess => {}
    }
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return plain(ArmError::gateway(
            413,
            "RequestEntityTooLarge",
            "The request content size exceeds the maximum size of 4 MB.",
        ));
    };
    let authorization = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .map(ToOwned::to_owned);
    let mut call = Call::new(parts.method, &parts.uri, authorization, body);
    call.base = own_name(&parts.headers);
    let response = if let Some((status, code, headers)) = faulted {
        let error = ArmError::compute(status, &code, format!("An injected fault: {code}."));
        arm.remember(&call, status);
        let mut response = plain(error);
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (
                header::HeaderName::try_from(name),
                header::HeaderValue::try_from(value),
            ) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    } else if let Some(response) = login::answer(
        &arm.identity,
        call.base.as_deref().unwrap_or(&arm.settings.arm_url),
        &call,
        arm.clock.now(),
    ) {
        response
    } else {
        let worker = Arc::clone(&arm);
        let answered = tokio::task::spawn_blocking(move || {
            let answer = worker.answer(&call);
            worker.remember(&call, if reset_after { 0 } else { answer.status });
            answer.into_response("LOCAL", call.bucket())
        })
        .await;
        match answered {
            Ok(response) => response,
            Err(error) => plain(ArmError::internal("answer", error)),
        }
    };
    if reset_after {
        fault::reset()
    } else {
        response
    }
}

/// The base URL of a request that came by one of Azure's own names, through the proxy: what it is
/// answered with leads there again.
fn own_name(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let host = azure_names::without_port(host).to_ascii_lowercase();
    azure_names::is_resource_manager(&host).then(|| format!("https://{host}"))
}

/// The answer to an error that no handler saw.
fn plain(error: ArmError) -> Response<Body> {
    Answer::from(error).into_response("LOCAL", "reads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_names_that_it_was_made_with() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(own_case(place.path(), "RG"), place.path().join("RG"));
        std::fs::create_dir(place.path().join("Rg")).unwrap();
        assert_eq!(own_case(place.path(), "RG"), place.path().join("Rg"));
        assert_eq!(own_case(place.path(), "rg2"), place.path().join("rg2"));
    }
}
