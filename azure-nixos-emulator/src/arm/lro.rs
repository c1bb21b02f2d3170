//! Long-running operations: what is under way, and the URLs by which clients ask after it.
//!
//! An operation is finished by the first request after it is due, whichever that is, so that
//! nothing runs on a timer and a stopped process leaves its operations to the next. Only copies of
//! disks run beside (see `copy`), and their operations wait for them.
//!
//! The families of answers are Azure's: compute and disk resources speak through
//! `Azure-AsyncOperation` with a name and times, the network provider with a bare status, and the
//! deletion of a group through `Location` alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Answer, Result};
use super::clock_text::{ticks, timestamp};
use super::error::{ArmError, Origin};
use super::{
    Context, deployments, disks, gallery, groups, images, network, scale_sets, storage, vms,
};
use crate::assumption::Assumption;
use crate::login::signature;
use crate::state::Power;

/// How long a finished operation can be asked for.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Which family of answers an operation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dialect {
    Disk,
    Compute,
    /// Galleries, image definitions and image versions.
    Gallery,
    Network,
    Group,
    /// The making of a storage account: `Location` alone, and then the account.
    Storage,
}

/// What is left to do when an operation ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    DiskCreated,
    /// The disk's content is being copied from another's file.
    DiskCopied(Copying),
    DiskUpdated,
    /// It becomes this large, in GiB; a file with other names is being copied for it.
    DiskResized(Copying, u64),
    DiskGranted {
        write: bool,
        seconds: u64,
        /// Whether the guest state that comes with the disk is meant as well.
        #[serde(default)]
        guest_state: bool,
    },
    DiskRevoked,
    DiskDeleted,
    ImageCopied(Copying),
    ImageUpdated,
    ImageDeleted,
    /// A gallery or an image definition.
    GalleryUpdated,
    /// The same.
    GalleryDeleted,
    /// The content of an image version is being copied, and replicated to its regions. The value is
    /// the storage profile that it has in the end.
    VersionCopied(Copying, Value),
    /// Replicated to these regions, which it was not in before.
    VersionUpdated(Vec<String>),
    /// What the request asks for cannot be: a failure that shows at the end of the operation only.
    VersionRefused {
        status: u16,
        code: String,
        message: String,
    },
    VersionDeleted,
    VmCreated,
    VmUpdated,
    /// Data disks were attached and detached by an action of its own.
    VmDisksChanged,
    VmPower(Power),
    VmDeleted,
    ScaleSetUpdated,
    /// Of machines of a Flexible scale set, which have operations of their own.
    MachinesPowered,
    MachinesDeleted,
    /// Of the machines with these numbers.
    InstancesPower(Vec<u32>, Power),
    InstancesUpgraded(Vec<u32>),
    InstancesDeleted(Vec<u32>),
    ScaleSetDeleted,
    NetworkUpdated,
    /// A subnet of the virtual network.
    SubnetUpdated(String),
    SubnetDeleted(String),
    /// A rule of the network security group.
    SecurityRuleDeleted(String),
    NetworkDeleted,
    GroupDeleted,
    StorageCreated,
    /// Nothing: the update was lost.
    Lost {
        /// What it looks like to its client.
        seems: Box<Work>,
        /// What is shown when it has succeeded.
        output: Option<Value>,
    },
    /// It is going to fail, by a rule.
    Failing {
        /// What it is that fails.
        seems: Box<Work>,
        code: String,
        message: String,
    },
}

impl Work {
    /// What it looks like to its client.
    pub(crate) fn seems(&self) -> &Self {
        match self {
            Self::Lost { seems, .. } | Self::Failing { seems, .. } => seems,
            work => work,
        }
    }

    /// The copy that it waits for, where it waits for one.
    pub(crate) fn copying(&self) -> Option<&Copying> {
        match self {
            Self::DiskCopied(copying)
            | Self::DiskResized(copying, _)
            | Self::ImageCopied(copying)
            | Self::VersionCopied(copying, _) => Some(copying),
            Self::Failing { seems, .. } => seems.copying(),
            _ => None,
        }
    }

    /// Whether it ends after operations on other resources that it began.
    fn waits_for_others(&self) -> bool {
        matches!(
            self,
            Self::ScaleSetUpdated
                | Self::ScaleSetDeleted
                | Self::MachinesPowered
                | Self::MachinesDeleted
        )
    }

    /// The same, to change it.
    pub(crate) fn copying_mut(&mut self) -> Option<&mut Copying> {
        match self {
            Self::DiskCopied(copying)
            | Self::DiskResized(copying, _)
            | Self::ImageCopied(copying)
            | Self::VersionCopied(copying, _) => Some(copying),
            Self::Failing { seems, .. } => seems.copying_mut(),
            _ => None,
        }
    }
}

/// A copy of files: what from, what to, and how it went once it has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Copying {
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// Whether the sources are never written again, so that the targets can be links to them.
    #[serde(default)]
    pub(crate) frozen: bool,
    pub(crate) result: Option<std::result::Result<(), String>>,
}

/// Where an operation has come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Status {
    Running,
    Succeeded(Option<Value>),
    Failed {
        status: u16,
        code: String,
        message: String,
    },
}

/// A long-running operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Operation {
    pub(crate) id: Uuid,
    pub(crate) dialect: Dialect,
    pub(crate) location: String,
    /// The id of the resource, or the name of the group.
    pub(crate) resource: String,
    pub(crate) work: Work,
    pub(crate) started: SystemTime,
    pub(crate) due: SystemTime,
    pub(crate) ended: Option<SystemTime>,
    pub(crate) status: Status,
    /// The version of the request: the URLs carry it.
    pub(crate) api_version: String,
    /// How often it was asked after. What a stopped process had counted is not kept.
    #[serde(skip)]
    pub(crate) polls: u32,
}

impl Operation {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.status, Status::Running)
    }

    pub(crate) fn is_deletion(&self) -> bool {
        matches!(
            self.work.seems(),
            Work::DiskDeleted
                | Work::ImageDeleted
                | Work::GalleryDeleted
                | Work::VersionDeleted
                | Work::VmDeleted
                | Work::InstancesDeleted(_)
                | Work::ScaleSetDeleted
                | Work::MachinesDeleted
                | Work::NetworkDeleted
                | Work::SubnetDeleted(_)
                | Work::SecurityRuleDeleted(_)
                | Work::GroupDeleted
        )
    }
}

impl Context<'_> {
    /// Begins an operation on a resource (an id, or a group's name).
    pub(crate) fn begin(
        &mut self,
        dialect: Dialect,
        location: &str,
        resource: &str,
        work: Work,
    ) -> Uuid {
        let id = Uuid::new_v4();
        let takes = self.arm.settings().timing.takes(&work, resource);
        self.state.operations.insert(
            id,
            Operation {
                id,
                dialect,
                location: location.to_owned(),
                resource: resource.to_owned(),
                work,
                started: self.now,
                due: self.now + takes,
                ended: None,
                status: Status::Running,
                api_version: self.api_version.to_owned(),
                polls: 0,
            },
        );
        id
    }

    /// The answer that begins an operation: `status`, the resource where it is shown, and the
    /// headers of the dialect.
    pub(crate) fn accepted(&self, status: u16, operation: Uuid, body: Option<Value>) -> Answer {
        let mut answer =
            body.map_or_else(|| Answer::empty(status), |body| Answer::json(status, body));
        let Some(operation) = self.state.operations.get(&operation) else {
            return answer;
        };
        let has_location = match operation.dialect {
            Dialect::Disk => true,
            Dialect::Compute | Dialect::Gallery | Dialect::Network => {
                operation.is_deletion()
                    || matches!(
                        operation.work,
                        Work::VmPower(_)
                            | Work::VmDisksChanged
                            | Work::InstancesPower(..)
                            | Work::InstancesUpgraded(_)
                            | Work::MachinesPowered
                    )
            }
            Dialect::Group | Dialect::Storage => true,
        };
        if !matches!(operation.dialect, Dialect::Group | Dialect::Storage) {
            answer = answer.with_header("azure-asyncoperation", self.url(operation, false));
        }
        // The provider of disks does not send it.
        if matches!(operation.dialect, Dialect::Compute | Dialect::Network) {
            answer = answer.with_header("azure-asyncnotification", "Enabled");
        }
        if has_location {
            answer = answer.with_header("location", self.url(operation, true));
        }
        self.waiting(operation, answer)
    }

    /// Refuses a request while something else is being done to the same resource.
    pub(crate) fn refuse_while_busy(&self, resource: &str, origin: Origin) -> Result<()> {
        let busy = self.state.operations.values().any(|operation| {
            operation.is_running() && operation.resource.eq_ignore_ascii_case(resource)
        });
        if !busy {
            return Ok(());
        }
        let message = format!(
            "Another operation on this resource is in progress: '{resource}'. Wait until it has ended and try again."
        );
        Err(match origin {
            Origin::Network if self.assumes(Assumption::BusyNetworkIsConflict) => {
                ArmError::network(409, "AnotherOperationInProgress", message)
            }
            Origin::Network => {
                ArmError::network(429, "RetryableErrorDueToAnotherOperation", message)
                    .with_header("retry-after", "1")
            }
            _ => ArmError::compute(409, "AnotherOperationInProgress", message),
        })
    }

    /// Whether a copy of a disk is under way, in which case it has to stay.
    pub(crate) fn is_being_copied(&self, disk: &Path) -> bool {
        self.state.operations.values().any(|operation| {
            operation.is_running()
                && operation
                    .work
                    .copying()
                    .is_some_and(|copying| copying.files.iter().any(|(from, _)| from == disk))
        })
    }

    /// Ends what runs on a resource, as a more recent request does to it.
    pub(crate) fn preempt(&mut self, resource: &str) {
        for operation in self.state.operations.values_mut() {
            if operation.is_running() && operation.resource.eq_ignore_ascii_case(resource) {
                operation.ended = Some(self.now);
                operation.status = Status::Failed {
                    status: 409,
                    code: "OperationPreempted".to_owned(),
                    message: "Operation execution has been preempted by a more recent operation."
                        .to_owned(),
                };
            }
        }
    }

    /// The URL of an operation, for `Azure-AsyncOperation` or for `Location`.
    fn url(&self, operation: &Operation, is_location: bool) -> String {
        let base = self
            .call
            .base
            .as_ref()
            .unwrap_or(&self.arm.settings().arm_url);
        let subscription = self.state.identity.subscription_id;
        let location = &operation.location;
        let id = operation.id;
        // `p` names a partition of the service, which a local one has one of.
        let partition = self.state.identity.tenant_id;
        let (path, before) = match operation.dialect {
            Dialect::Disk | Dialect::Compute => {
                let kind = if operation.dialect == Dialect::Disk {
                    "DiskOperations"
                } else {
                    "operations"
                };
                let monitor = if is_location { "&monitor=true" } else { "" };
                (
                    format!(
                        "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/{kind}/{id}"
                    ),
                    format!("p={partition}{monitor}&"),
                )
            }
            Dialect::Storage => (
                format!(
                    "/subscriptions/{subscription}/providers/Microsoft.Storage/locations/{location}/asyncoperations/{id}"
                ),
                "monitor=true&".to_owned(),
            ),
            Dialect::Gallery => {
                let monitor = if is_location { "monitor=true&" } else { "" };
                (
                    format!(
                        "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/capsOperations/{id}"
                    ),
                    monitor.to_owned(),
                )
            }
            Dialect::Network => {
                let kind = if is_location {
                    "operationResults"
                } else {
                    "operations"
                };
                (
                    format!(
                        "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/{kind}/{id}"
                    ),
                    String::new(),
                )
            }
            Dialect::Group => {
                // Azure writes a job name in base64; the id is in ours, as it is what is looked up.
                let job = json!({
                    "jobId": format!("RESOURCEGROUPDELETIONJOB-{}-{id}", operation.resource.to_uppercase()),
                    "jobLocation": location,
                });
                (
                    format!(
                        "/subscriptions/{subscription}/operationresults/{}",
                        URL_SAFE_NO_PAD.encode(job.to_string())
                    ),
                    String::new(),
                )
            }
        };
        let unsigned = format!(
            "{path}?{before}api-version={}&t={}",
            operation.api_version,
            ticks(operation.started)
        );
        self.sign(base, &unsigned)
    }

    /// The URL of a path and a query, with the parameters that sign it.
    pub(crate) fn sign(&self, base: &str, unsigned: &str) -> String {
        format!("{base}{unsigned}&{}", self.signed(unsigned))
    }

    /// The parameters `c`, `s` and `h`: a certificate, its signature and a hash in Azure, and here
    /// as long as there, so that a client which cuts or rebuilds the URL is found out.
    fn signed(&self, unsigned: &str) -> String {
        let key = &self.state.identity.signing_key;
        let stretch = |name: &str, blocks: u32| {
            let bytes: Vec<u8> = (0..blocks)
                .flat_map(|block| signature(key, format!("{name}{block}{unsigned}").as_bytes()))
                .collect();
            URL_SAFE_NO_PAD.encode(bytes)
        };
        format!(
            "c={}&s={}&h={}",
            stretch("c", 58),
            stretch("s", 8),
            stretch("h", 1)
        )
    }

    /// Whether the URL of this request is one that was given out, unchanged.
    fn is_verbatim(&self) -> bool {
        self.call
            .path_and_query
            .split_once("&c=")
            .is_some_and(|(unsigned, signed)| format!("c={signed}") == self.signed(unsigned))
    }

    /// Answers a question after an operation of a provider.
    pub(crate) fn provider_operation(&mut self, kind: &str, id: &str) -> Result {
        let operation = Uuid::parse_str(id)
            .ok()
            .and_then(|id| self.asked_after(id))
            .ok_or_else(|| {
                ArmError::compute(
                    404,
                    "NotFound",
                    format!("The operation '{id}' does not exist, or ended more than a day ago."),
                )
            })?;
        self.require_verbatim()?;
        let monitor = self.call.query("monitor") == Some("true");
        match operation.dialect {
            Dialect::Disk | Dialect::Compute | Dialect::Gallery if monitor => {
                Ok(self.monitor(&operation))
            }
            Dialect::Disk | Dialect::Compute | Dialect::Gallery => {
                Ok(self.named_status(&operation))
            }
            Dialect::Network if kind.eq_ignore_ascii_case("operationResults") => {
                Ok(self.monitor(&operation))
            }
            Dialect::Network => Ok(self.bare_status(&operation)),
            Dialect::Storage => Ok(self.monitor(&operation)),
            Dialect::Group => Err(ArmError::no_such_path(&self.call.path)),
        }
    }

    /// Answers a question after the deletion of a group.
    pub(crate) fn group_operation(&mut self, job: &str) -> Result {
        self.require_verbatim()?;
        let id = URL_SAFE_NO_PAD
            .decode(job)
            .or_else(|_| STANDARD.decode(job))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .and_then(|job| {
                let job = job["jobId"].as_str()?;
                Uuid::parse_str(job.get(job.len().checked_sub(36)?..)?).ok()
            });
        match id.and_then(|id| self.asked_after(id)) {
            Some(operation) => Ok(self.monitor(&operation)),
            // Azure has forgotten the job by then and says it is done.
            None => Ok(Answer::empty(204)),
        }
    }

    /// The operation that a question is about.
    fn asked_after(&mut self, id: Uuid) -> Option<Operation> {
        let operation = self.state.operations.get_mut(&id)?;
        operation.polls = operation.polls.saturating_add(1);
        Some(operation.clone())
    }

    pub(crate) fn require_verbatim(&self) -> Result<()> {
        if self.call.method != Method::GET {
            return Err(ArmError::no_such_method(self.call.method.as_str()));
        }
        if self.is_verbatim() {
            return Ok(());
        }
        // What Azure says to a changed URL is in no recording.
        Err(ArmError::gateway(
            403,
            "AuthorizationFailed",
            "The URL of the operation is not the one that was given out: use it verbatim, with all of its parameters.",
        ))
    }

    /// `{"startTime","endTime","status","name",…}`: compute and disks.
    fn named_status(&self, operation: &Operation) -> Answer {
        let mut body = json!({ "startTime": timestamp(operation.started) });
        if let Some(ended) = operation.ended {
            body["endTime"] = json!(timestamp(ended));
        }
        match &operation.status {
            Status::Running => body["status"] = json!("InProgress"),
            Status::Succeeded(output) => {
                body["status"] = json!("Succeeded");
                if let Some(output) = output {
                    body["properties"] = json!({ "output": self.shown(output) });
                }
            }
            Status::Failed { code, message, .. } => {
                body["status"] = json!("Failed");
                body["error"] = json!({ "code": code, "message": message });
            }
        }
        body["name"] = json!(operation.id);
        self.waiting(operation, Answer::json(200, body))
    }

    /// `{"status"}`: the network provider.
    fn bare_status(&self, operation: &Operation) -> Answer {
        let body = match &operation.status {
            Status::Running => json!({ "status": "InProgress" }),
            Status::Succeeded(_) => json!({ "status": "Succeeded" }),
            Status::Failed { code, message, .. } => json!({
                "status": "Failed",
                "error": { "code": code, "message": message, "details": [] },
            }),
        };
        self.waiting(operation, Answer::json(200, body))
    }

    /// What is behind a `Location`: 202 while it runs, then the result itself.
    fn monitor(&self, operation: &Operation) -> Answer {
        let again = |answer: Answer| {
            let answer = answer.with_header("location", self.url(operation, true));
            if operation.dialect == Dialect::Network {
                answer.with_header("azure-asyncoperation", self.url(operation, false))
            } else {
                answer
            }
        };
        match &operation.status {
            Status::Running
                if matches!(operation.dialect, Dialect::Disk | Dialect::Compute)
                    && self.assumes(Assumption::ResultIsEmptyWhileRunning) =>
            {
                Answer::empty(200)
            }
            Status::Running => self.waiting(operation, again(Answer::empty(202))),
            Status::Succeeded(Some(output)) => Answer::json(200, self.shown(output)),
            // A type of no content, as recorded.
            Status::Succeeded(None) if operation.dialect == Dialect::Network => again(
                Answer::empty(204).with_header("content-type", "application/json; charset=utf-8"),
            ),
            Status::Succeeded(None) => Answer::empty(200),
            Status::Failed {
                status,
                code,
                message,
            } => match operation.dialect {
                Dialect::Network => ArmError::network(*status, code, message),
                _ => ArmError::compute(*status, code, message),
            }
            .into(),
        }
    }

    /// An access is kept without what can change between two starts: the port of the blobs, and
    /// whether they have Azure's names.
    fn shown(&self, output: &Value) -> Value {
        let mut output = output.clone();
        for access in ["accessSAS", "securityDataAccessSAS"] {
            if let Some(located) = output.get(access).and_then(Value::as_str) {
                output[access] = json!(self.arm.settings().blob_urls.access(located));
            }
        }
        output
    }

    fn waiting(&self, operation: &Operation, answer: Answer) -> Answer {
        let timing = self.arm.settings().timing;
        match timing.retry_after(operation, operation.polls, self.now) {
            Some(seconds) if operation.is_running() => {
                answer.with_header("retry-after", seconds.to_string())
            }
            _ => answer,
        }
    }

    /// Ends everything that is due and begins what deployments have waited for, until nothing more
    /// is to be done now. Says whether anything changed.
    pub(crate) fn settle(&mut self) -> bool {
        let mut changed = self.end_due();
        while deployments::advance(self) {
            changed = true;
            self.end_due();
        }
        changed
    }

    /// Ends everything that is due, in the order in which it was due, what waits for others last. Says
    /// whether anything changed.
    fn end_due(&mut self) -> bool {
        let mut changed = disks::expire_accesses(self) | vms::follow_machines(self);
        let before = self.state.operations.len();
        let now = self.now;
        self.state.operations.retain(|_, operation| {
            operation.ended.is_none_or(|ended| {
                now.duration_since(ended).is_ok_and(|age| age < KEPT) || ended > now
            })
        });
        changed |= before != self.state.operations.len();
        let mut due: Vec<_> = self
            .state
            .operations
            .values()
            .filter(|operation| operation.is_running() && operation.due <= self.now)
            .map(|operation| {
                // What waits for others sees how they ended.
                let waits = operation.work.waits_for_others();
                let order = (waits, operation.due, operation.started);
                (order, operation.id)
            })
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            changed |= self.end_now(id);
        }
        changed
    }

    /// Ends an operation, due or not, unless it has ended already or has to wait for something. Says
    /// whether it ended.
    pub(crate) fn end_now(&mut self, id: Uuid) -> bool {
        let Some(operation) = self.state.operations.get(&id).cloned() else {
            return false;
        };
        if !operation.is_running() {
            return false;
        }
        let Some(result) = self.finish(&operation) else {
            return false;
        };
        if let Some(operation) = self.state.operations.get_mut(&id) {
            operation.ended = Some(self.now);
            operation.status = match result {
                Ok(output) => Status::Succeeded(output),
                Err(error) => Status::Failed {
                    status: error.status,
                    code: error.code,
                    message: error.message,
                },
            };
        }
        true
    }

    /// Does what is left of an operation; `None` when it has to wait for something.
    pub(super) fn finish(&mut self, operation: &Operation) -> Option<Result<Option<Value>>> {
        let id = operation.resource.as_str();
        match &operation.work {
            Work::DiskCreated => Some(disks::created(self, id)),
            Work::DiskCopied(copying) => {
                let result = copying.result.as_ref()?;
                Some(disks::copied(self, id, result.as_ref().err()))
            }
            Work::DiskUpdated => Some(disks::updated(self, id)),
            Work::DiskResized(copying, size) => {
                let result = copying.result.as_ref()?;
                Some(disks::resized(self, id, *size, result.as_ref().err()))
            }
            Work::DiskGranted {
                write,
                seconds,
                guest_state,
            } => Some(disks::granted(self, id, *write, *seconds, *guest_state)),
            Work::DiskRevoked => Some(disks::revoked(self, id)),
            Work::DiskDeleted => Some(disks::deleted(self, id)),
            Work::ImageCopied(copying) => {
                let result = copying.result.as_ref()?;
                Some(images::copied(self, id, result.as_ref().err()))
            }
            Work::ImageUpdated => Some(images::updated(self, id)),
            Work::ImageDeleted => Some(images::deleted(self, id)),
            Work::GalleryUpdated => Some(gallery::updated(self, id)),
            Work::GalleryDeleted => Some(gallery::deleted(self, id)),
            Work::VersionCopied(copying, profile) => {
                let result = copying.result.as_ref()?;
                Some(gallery::versions::copied(
                    self,
                    id,
                    profile,
                    result.as_ref().err(),
                ))
            }
            Work::VersionUpdated(_) => Some(gallery::updated(self, id)),
            Work::VersionRefused {
                status,
                code,
                message,
            } => Some(gallery::versions::refused(self, id, *status, code, message)),
            Work::VersionDeleted => Some(images::deleted(self, id)),
            Work::VmCreated => vms::created(self, operation.id, id),
            Work::VmUpdated => vms::updated(self, operation.id, id),
            Work::VmDisksChanged => Some(vms::disks_changed(self, id)),
            Work::VmPower(power) => vms::powered(self, operation.id, id, *power),
            Work::VmDeleted => vms::deleted(self, operation.id, id),
            Work::ScaleSetUpdated | Work::MachinesPowered | Work::MachinesDeleted => {
                scale_sets::updated(self, operation)
            }
            Work::InstancesPower(numbers, power) => {
                Some(scale_sets::powered(self, id, numbers, *power))
            }
            Work::InstancesUpgraded(numbers) => Some(scale_sets::upgraded(self, id, numbers)),
            Work::InstancesDeleted(numbers) => Some(scale_sets::removed(self, id, numbers)),
            Work::ScaleSetDeleted => scale_sets::deleted(self, id),
            Work::NetworkUpdated => Some(network::updated(self, id)),
            Work::SubnetUpdated(_) => Some(network::updated(self, id)),
            Work::SubnetDeleted(name) => Some(network::vnet::subnet_deleted(self, id, name)),
            Work::SecurityRuleDeleted(name) => {
                Some(network::security_rule::deleted(self, id, name))
            }
            Work::NetworkDeleted => Some(network::deleted(self, id)),
            Work::GroupDeleted => groups::deleted(self, id),
            Work::StorageCreated => Some(storage::created(self, id)),
            Work::Lost { output, .. } => Some(Ok(output.clone())),
            Work::Failing {
                seems,
                code,
                message,
            } => self.fail(operation, seems, code, message),
        }
    }
}
