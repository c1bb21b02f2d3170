//! Azure Resource Manager, as far as disks, images, networks and virtual machines need it.
//!
//! [`Arm`] holds the state behind one lock. A request is answered by a plain function over that
//! state, on a thread that may block; nothing here is asynchronous but the reading of the body.
//! `route` decides who answers, one file per resource type does, `lro` knows what is under way.
//! Page data is the data plane's and is only created, granted, revoked and removed from here.

pub(crate) mod answer;
mod blob_source;
pub(crate) mod call;
pub(crate) mod clock_text;
mod copy;
pub(crate) mod deployments;
mod directory;
mod disks;
pub(crate) mod error;
mod faults;
mod footer;
mod gallery;
mod groups;
mod headers;
mod id;
mod identities;
mod images;
mod inner_request;
mod jobs;
mod journal;
pub(crate) mod lro;
mod names;
mod network;
mod own_copy;
pub(crate) mod pace;
mod pages;
mod permissions;
mod providers;
mod quotas;
mod resource_filter;
mod resources;
mod roles;
mod route;
mod scale_sets;
mod shape;
mod sizes;
mod skus;
mod ssh_keys;
mod storage;
mod subscriptions;
mod versions;
mod vms;
mod zones;

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, Request, Response, header};
use tokio_util::task::TaskTracker;

pub(crate) use self::copy::remove_if_there;

use self::answer::Answer;
use self::call::Call;
use self::error::ArmError;
use self::faults::Fate;
use self::id::{Kind, ResourceId};
use self::journal::{Answered, Journal};
use self::pace::Timing;
use crate::assumption::Assumption;
use crate::azure_names::{self, BlobUrls};
use crate::blob::PageBlobs;
use crate::boot::Machines;
use crate::clock::Clock;
use crate::control::{self, Controlled};
use crate::emulator::RecordedRequest;
use crate::error::EmulatorError;
use crate::fault::{self, FaultAction, Faults, Plane};
use crate::lock::StateLock;
use crate::login;
use crate::ssh_at::Doors;
use crate::state::{Identity, Registration, State, Store};

/// The largest request body, which is Azure's own limit.
const LARGEST_BODY: usize = 4 << 20;

/// What does not change while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) state_dir: PathBuf,
    pub(crate) arm_url: String,
    pub(crate) timing: Timing,
    pub(crate) blob_urls: BlobUrls,
    pub(crate) durable: bool,
    /// Where machines boot, if they do.
    pub(crate) machines: Option<Machines>,
    /// Who answers for machines that do not, if anybody does.
    pub(crate) doors: Option<Doors>,
    /// Whether the disks of an image version can be made of managed disks, and not of snapshots only.
    pub(crate) versions_from_disks: bool,
    /// How many items an answer to a list has at most.
    pub(crate) page_size: Option<NonZeroUsize>,
    pub(crate) access: Access,
    /// How long a network interface is kept for a machine that was deleted.
    pub(crate) nic_reservation: Duration,
    pub(crate) offer: Offer,
    /// What is done in another way than by default.
    pub(crate) assumed: Vec<Assumption>,
}

/// Who may do what, and from when on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// How long a new principal is not known.
    pub(crate) replication: Duration,
    /// Whether that holds for requests that say the type of the principal.
    pub(crate) replication_despite_type: bool,
    /// Actions that the caller may not do.
    pub(crate) denied: Vec<String>,
}

/// A size that the subscription may not use.
#[derive(Clone, Debug)]
pub(crate) struct Restricted {
    pub(crate) size: String,
    /// The zones that it may not be used in; none for the whole of every location.
    pub(crate) zones: Vec<String>,
}

/// What the subscription may have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    /// Limits of usages that are not the default, by their names in lower case.
    pub(crate) quotas: BTreeMap<String, u64>,
    /// Sizes of virtual machines that may not be used.
    pub(crate) restricted: Vec<Restricted>,
    /// The state of the subscription, where it is not `Enabled`.
    pub(crate) subscription_state: Option<String>,
}

impl Offer {
    /// The limit of a usage, which is by default this one.
    pub(crate) fn limit(&self, usage: &str, default: u64) -> u64 {
        let usage = usage.to_ascii_lowercase();
        self.quotas.get(&usage).copied().unwrap_or(default)
    }

    /// What there is of restrictions of a size.
    pub(crate) fn restrictions<'a>(
        &'a self,
        size: &'a str,
    ) -> impl Iterator<Item = &'a Restricted> {
        self.restricted
            .iter()
            .filter(move |restricted| restricted.size.eq_ignore_ascii_case(size))
    }

    pub(crate) fn subscription_state(&self) -> &str {
        self.subscription_state.as_deref().unwrap_or("Enabled")
    }
}

impl Settings {
    /// The file with the content of a disk, by the names that it was made with.
    pub(crate) fn disk_file(&self, group: &str, name: &str) -> PathBuf {
        self.file("disks", group, name)
    }

    pub(crate) fn image_file(&self, group: &str, name: &str) -> PathBuf {
        self.file("images", group, name)
    }

    /// The file with the content of the OS disk of an image version. The name has those of the
    /// gallery and the image definition before it.
    pub(crate) fn version_file(&self, group: &str, name: &str) -> PathBuf {
        self.file("galleries", group, name)
    }

    /// The file with the content of a disk or of a snapshot.
    pub(crate) fn content_file(&self, id: &ResourceId) -> PathBuf {
        let kind = match id.kind {
            Kind::Snapshot => "snapshots",
            _ => "disks",
        };
        self.file(kind, &id.group, &id.name)
    }

    fn file(&self, kind: &str, group: &str, name: &str) -> PathBuf {
        let directory = own_case(&self.state_dir.join(kind), group);
        let (inside, leaf) = name.rsplit_once('/').unwrap_or(("", name));
        let directory = inside
            .split('/')
            .filter(|part| !part.is_empty())
            .fold(directory, |directory, part| own_case(&directory, part));
        own_case(&directory, &format!("{leaf}.vhd"))
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
    journal: Mutex<Journal>,
    /// SHA-256 of the tokens that a fault let expire before their time.
    expired: Mutex<VecDeque<[u8; 32]>>,
    /// While an update is lost: what handlers start beside the state does not begin.
    is_losing: AtomicBool,
    copies: TaskTracker,
    jobs: jobs::Jobs,
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
        mut store: Store,
        blobs: PageBlobs,
        clock: Clock,
        faults: Faults,
        lock: StateLock,
    ) -> Arc<Self> {
        store.state.has_own_addresses = settings.machines.is_some() || settings.doors.is_some();
        blobs.sign_diagnostics_with(&store.state.identity.signing_key);
        Arc::new(Self {
            settings,
            identity: store.state.identity.clone(),
            store: Mutex::new(store),
            blobs,
            clock,
            faults,
            journal: Mutex::default(),
            expired: Mutex::default(),
            is_losing: AtomicBool::new(false),
            copies: TaskTracker::new(),
            jobs: jobs::Jobs::default(),
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
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.all()
    }

    /// Namespaces begin unregistered unless the state knows them.
    pub(crate) fn start_unregistered(&self, namespaces: &[String]) -> Result<(), EmulatorError> {
        let known = |namespace: &&String| {
            let mut all = providers::NAMESPACES.iter();
            all.any(|known| known.eq_ignore_ascii_case(namespace))
        };
        if let Some(unknown) = namespaces.iter().find(|namespace| !known(namespace)) {
            return Err(EmulatorError::new(format!(
                "there is no resource provider {unknown} that could be unregistered; there are {}",
                providers::NAMESPACES.join(", ")
            )));
        }
        self.change_state(|state| {
            for namespace in namespaces {
                state
                    .providers
                    .entry(namespace.to_ascii_lowercase())
                    .or_insert(Registration::NotRegistered);
            }
        });
        Ok(())
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
    fn answer(self: &Arc<Self>, call: &Call, fate: &Fate) -> Answer {
        let now = self.clock.now();
        if let Err(error) = login::authenticate(
            &self.identity,
            call.authorization.as_deref(),
            self.time_for(call, now),
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
        let base = call.base.as_deref().unwrap_or(&self.settings.arm_url);
        let answer = match fate {
            Fate::Carried => route::answer(&mut context),
            Fate::Lost => context.lose(route::answer),
            Fate::Fails { code, message } => context.serve_failing(route::answer, code, message),
        };
        let answer = answer
            .and_then(|answer| pages::cut(call, base, self.settings.page_size, answer))
            .unwrap_or_else(Answer::from);
        if (settled || !call.method.is_safe())
            && let Err(error) = store.save()
        {
            return ArmError::internal("save its state", error).into();
        }
        if let Some(doors) = &self.settings.doors {
            doors.set(vms::reachable(&store.state));
        }
        answer
    }

    /// Sees to it that those machines are reached which can be.
    pub(crate) fn set_doors(&self) {
        if let Some(doors) = &self.settings.doors {
            // With the state in hand, so that a later one is not set before an earlier one.
            let store = self.store();
            doors.set(vms::reachable(&store.state));
        }
    }

    fn remember(&self, call: &Call, answered: Option<Answered<'_>>) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.add(call, answered);
    }

    /// The HTTP of an answer, which is remembered as it is sent; or as nothing at all when the
    /// connection is closed instead.
    fn respond(&self, call: &Call, answer: Answer, is_sent: bool) -> Response<Body> {
        let body = answer.body.clone();
        let length = body.as_ref().map_or(0, |body| body.to_string().len());
        let answer = headers::add(call, answer);
        let response = answer.into_response("LOCAL", call.bucket());
        let answered = is_sent.then(|| Answered {
            status: response.status().as_u16(),
            headers: response.headers(),
            body,
            length,
        });
        self.remember(call, answered);
        response
    }
}

/// The https server's requests: logins and Resource Manager.
pub(crate) fn router(arm: Arc<Arm>) -> Router {
    Router::new().fallback(serve).with_state(arm)
}

async fn serve(Extract(arm): Extract<Arc<Arm>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let is_control = parts.uri.path().starts_with(control::PREFIX);
    let action = if is_control {
        FaultAction::None
    } else {
        arm.faults.before_with(
            Plane::Arm,
            parts.method.as_str(),
            path_and_query,
            &parts.headers,
            length.unwrap_or_default(),
        )
    };
    match &action {
        FaultAction::ResetBefore => return fault::reset(),
        FaultAction::ResetDuring => {
            return fault::reset_during(body, length.unwrap_or_default()).await;
        }
        FaultAction::Stall(time) => {
            tokio::time::sleep(*time).await;
            return fault::reset();
        }
        FaultAction::Delay(time) | FaultAction::Respond { late: time, .. } => {
            tokio::time::sleep(*time).await;
        }
        // The others are carried out on what it changes or on its answer.
        _ => {}
    }
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return plain(ArmError::gateway(
            413,
            "RequestEntityTooLarge",
            "The request content size exceeds the maximum size of 4 MB.",
        ));
    };
    let text_of = |name| {
        let value = parts.headers.get(name)?;
        value.to_str().ok().map(ToOwned::to_owned)
    };
    let authorization = text_of(header::AUTHORIZATION);
    let content_type = text_of(header::CONTENT_TYPE);
    let method = parts.method.clone();
    let mut call = Call::new(parts.method, &parts.uri, authorization, body);
    call.base = own_name(&parts.headers);
    if action == FaultAction::ExpireToken {
        arm.expire_token(&call);
    }
    let response = if is_control {
        let worker = Arc::clone(&arm);
        let answered = tokio::task::spawn_blocking(move || {
            let controlled = Controlled {
                identity: &worker.identity,
                clock: &worker.clock,
                faults: &worker.faults,
            };
            control::answer(&controlled, &call, content_type.as_deref(), || {
                worker.requests()
            })
        });
        answered
            .await
            .unwrap_or_else(|error| plain(ArmError::internal("answer", error)))
    } else if let FaultAction::Respond {
        status,
        code,
        message,
        headers,
        ..
    } = &action
    {
        arm.respond_by_rule(&call, *status, code, message.as_deref(), headers)
    } else if let Some(response) = login::answer(
        &arm.identity,
        call.base.as_deref().unwrap_or(&arm.settings.arm_url),
        &call,
        arm.clock.now(),
    ) {
        response
    } else {
        let worker = Arc::clone(&arm);
        let fate = Fate::from(&action);
        let is_unanswered = action == FaultAction::ResetAfter;
        let answered = tokio::task::spawn_blocking(move || {
            let answer = worker.answer(&call, &fate);
            worker.respond(&call, answer, !is_unanswered)
        })
        .await;
        match answered {
            Ok(response) => response,
            Err(error) => plain(ArmError::internal("answer", error)),
        }
    };
    fault::spoil(&action, &method, response).await
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
