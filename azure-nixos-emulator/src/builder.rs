//! The settings of a local Azure, and its start.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arm::pace::Timing;
use crate::arm::{Access, Arm, Offer, Restricted, Settings};
use crate::assumption::Assumption;
use crate::azure_names::{AzureNames, BlobUrls};
use crate::blob::{Options, PageBlobs, SasShape};
use crate::boot::{Boot, Machines};
use crate::clock::Clock;
use crate::emulator::Emulator;
use crate::error::EmulatorError;
use crate::fault::{FaultRule, Faults, Plane};
use crate::lock::StateLock;
use crate::proxy;
use crate::running::Running;
use crate::server::{Listening, Speaks};
use crate::ssh_at::{Doors, Rule};
use crate::state::{Store, create_private_dir};
use crate::tls::Tls;

/// The settings of a local Azure; made by [`Emulator::builder`].
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    state_dir: PathBuf,
    arm_port: u16,
    blob_port: u16,
    timing: Timing,
    blob_https: bool,
    blob_host: Option<String>,
    proxy_port: Option<u16>,
    sas_shape: SasShape,
    clock: Clock,
    durable: bool,
    lock_patience: Duration,
    unregistered: Vec<String>,
    pub(crate) machines: crate::boot::Options,
    pub(crate) ssh_at: Option<Rule>,
    versions_from_disks: bool,
    page_size: Option<NonZeroUsize>,
    access: Access,
    nic_reservation: Duration,
    offer: Offer,
    assumed: Vec<Assumption>,
    faults: Vec<FaultRule>,
}

impl EmulatorBuilder {
    pub(crate) fn new() -> Self {
        Self {
            state_dir: PathBuf::from("local-azure"),
            arm_port: 0,
            blob_port: 0,
            timing: Timing::default(),
            blob_https: false,
            blob_host: None,
            proxy_port: None,
            sas_shape: SasShape::default(),
            clock: Clock::new(),
            durable: false,
            lock_patience: Duration::from_secs(30),
            unregistered: Vec::new(),
            machines: crate::boot::Options::default(),
            ssh_at: None,
            versions_from_disks: true,
            page_size: None,
            access: Access::default(),
            nic_reservation: Duration::ZERO,
            offer: Offer::default(),
            assumed: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Where everything is kept; made if missing. Default: `local-azure` in the working directory.
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = path.into();
        self
    }

    /// The port of Resource Manager and login. Default 0: any free one.
    #[must_use]
    pub fn arm_port(mut self, port: u16) -> Self {
        self.arm_port = port;
        self
    }

    /// The port of the page blobs. Default 0: any free one.
    #[must_use]
    pub fn blob_port(mut self, port: u16) -> Self {
        self.blob_port = port;
        self
    }

    /// Whether the URLs of page blobs are `https://localhost:PORT/…` and not
    /// `http://127.0.0.1:PORT/…`. The port itself speaks both, whichever a client begins with.
    /// Default false: the client then needs no certificate.
    #[must_use]
    pub fn blob_https(mut self, https: bool) -> Self {
        self.blob_https = https;
        self
    }

    /// Gives out accesses to disks and the endpoints of storage accounts with the host names that
    /// Azure gives them, ending in this suffix: an upload's is
    /// `https://md-impexp-….z10.blob.storage.azure.net/…` for `"blob.storage.azure.net"`, which is
    /// Azure's own. Clients such as AzCopy treat a managed disk differently from a storage account
    /// and know it by that name.
    ///
    /// Such a name has to lead here: through the [proxy](Self::proxy_port), with which no port is
    /// shown, or by a resolver of the client's; the port of the page blobs is then shown unless it
    /// is 443. The certificate fits. Default: URLs on loopback.
    #[must_use]
    pub fn blob_host(mut self, suffix: impl Into<String>) -> Self {
        self.blob_host = Some(suffix.into());
        self
    }

    /// Starts a forward proxy on this port of 127.0.0.1, 0 being any free one, that connects
    /// Azure's own names (`management.azure.com`, `login.microsoftonline.com`,
    /// `*.blob.core.windows.net`, `*.blob.storage.azure.net`) to the local Azure and refuses every
    /// other. A client with `HTTPS_PROXY` set to [`Emulator::proxy_url`] that trusts
    /// [`Emulator::ca_path`] needs no other setting to take it for Azure. Default: none.
    #[must_use]
    pub fn proxy_port(mut self, port: u16) -> Self {
        self.proxy_port = Some(port);
        self
    }

    /// Which parameters the signatures of accesses to disks have. Default: [`SasShape::Policy`].
    #[must_use]
    pub fn sas_shape(mut self, shape: SasShape) -> Self {
        self.sas_shape = shape;
        self
    }

    /// How long every long-running operation stays in progress, by the [`Clock`]. Default 0: it is
    /// finished when it is first asked for, and `Retry-After` is 0.
    #[must_use]
    pub fn operation_delay(self, delay: Duration) -> Self {
        self.timing(Timing::Uniform(delay))
    }

    /// How long operations take, each of them by its kind. Default: no time at all.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// The clock that expiries and operations go by. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Whether what was acknowledged survives a power failure. Default false: it survives the end
    /// of the process, which costs no waiting for the disk.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// How long to wait for another local Azure that uses the same directory. Default 30 s.
    #[must_use]
    pub fn lock_patience(mut self, patience: Duration) -> Self {
        self.lock_patience = patience;
        self
    }

    /// Resource providers (`Microsoft.Compute`) that the subscription has not registered yet, in a
    /// state directory that does not know better. Default: none.
    #[must_use]
    pub fn unregistered<I, S>(mut self, namespaces: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.unregistered = namespaces.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the disks of an image version can be made of managed disks, and not of snapshots
    /// only. Default true: clients offer it, and what Azure says to it is in no recording.
    #[must_use]
    pub fn versions_from_disks(mut self, allowed: bool) -> Self {
        self.versions_from_disks = allowed;
        self
    }

    /// How many items an answer to a list of Resource Manager has at most; the rest is behind its
    /// `nextLink`. Default: all of them, in one answer.
    #[must_use]
    pub fn page_size(mut self, items: NonZeroUsize) -> Self {
        self.page_size = Some(items);
        self
    }

    /// How long Resource Manager does not know a new principal: until then a role assignment for it
    /// is refused with `PrincipalNotFound`. Default 0.
    ///
    /// A request that says the `principalType` is spared, as the documentation has it; see
    /// [`EmulatorBuilder::role_replication_despite_type`].
    #[must_use]
    pub fn role_replication(mut self, delay: Duration) -> Self {
        self.access.replication = delay;
        self
    }

    /// Whether a role assignment is refused for a principal that is not known yet although the
    /// request says its `principalType`. Default false.
    #[must_use]
    pub fn role_replication_despite_type(mut self, despite: bool) -> Self {
        self.access.replication_despite_type = despite;
        self
    }

    /// How long the network interface of a deleted machine is kept for it: until then its deletion and
    /// its use by another machine are refused with 400 `NicReservedForAnotherVm`. Default 0; Azure's
    /// is said to be 180 s, and not always to happen.
    #[must_use]
    pub fn nic_reservation(mut self, time: Duration) -> Self {
        self.nic_reservation = time;
        self
    }

    /// An action that the caller may not do: `Microsoft.Authorization/roleAssignments/write`, or
    /// with `*` for any part of it: `Microsoft.Compute/*/delete`. Such requests are answered with
    /// `403 AuthorizationFailed`. Default: none.
    #[must_use]
    pub fn deny(mut self, action: impl Into<String>) -> Self {
        self.access.denied.push(action.into());
        self
    }

    /// The limit of a usage in every location, by its name in lists of usages: `cores`, the family
    /// of a size such as `standardDSv5Family`, `lowPriorityCores` of all Spot machines, or one of
    /// Microsoft.Network's such as `PublicIPAddresses`. What would exceed it is refused. Default: 100
    /// cores in all, in each family and of Spot machines, 1000 addresses and networks.
    #[must_use]
    pub fn quota(mut self, usage: impl Into<String>, limit: u64) -> Self {
        let usage = usage.into().to_ascii_lowercase();
        self.offer.quotas.insert(usage, limit);
        self
    }

    /// A size of virtual machines that exists and that the subscription may not use: it is listed
    /// with a restriction, and a machine of it is refused with `SkuNotAvailable`. Default: none.
    #[must_use]
    pub fn restrict_size(mut self, size: impl Into<String>) -> Self {
        self.offer.restricted.push(Restricted {
            size: size.into(),
            zones: Vec::new(),
        });
        self
    }

    /// The same in some zones only: a machine of the size that is put into one of them is refused.
    /// Default: none.
    #[must_use]
    pub fn restrict_size_in_zones<Z: Into<String>>(
        mut self,
        size: impl Into<String>,
        zones: impl IntoIterator<Item = Z>,
    ) -> Self {
        let zones: Vec<String> = zones.into_iter().map(Into::into).collect();
        if !zones.is_empty() {
            let size = size.into();
            self.offer.restricted.push(Restricted { size, zones });
        }
        self
    }

    /// The state of the subscription: `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`. One
    /// that is disabled or deleted can only be read. Default: `Enabled`.
    #[must_use]
    pub fn subscription_state(mut self, state: impl Into<String>) -> Self {
        self.offer.subscription_state = Some(state.into());
        self
    }

    /// Does something in another way than by default, where it is not known what Azure does. Each
    /// call adds one. Default: none.
    #[must_use]
    pub fn assume(mut self, alternative: Assumption) -> Self {
        self.assumed.push(alternative);
        self
    }

    /// A rule by which requests fail from the start on; may be given more than once. Rules that
    /// come and go are the business of [`Emulator::faults`].
    #[must_use]
    pub fn fault(mut self, rule: FaultRule) -> Self {
        self.faults.push(rule);
        self
    }

    /// Starts it: both ports are listened on when this returns.
    ///
    /// # Errors
    /// When the state directory cannot be used or is in use, a port is taken, or machines are to
    /// boot and qemu is not installed or others are to [answer for them](Self::ssh_at); the text
    /// says which and what to do.
    ///
    /// # Cancellation
    /// A dropped future has started nothing; what was made in the state directory stays there.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        if self.machines.boot == Boot::Qemu && self.ssh_at.is_some() {
            return Err(EmulatorError::new(
                "machines that boot answer for themselves: set either boot or ssh_at",
            ));
        }
        let machines = match self.machines.boot {
            Boot::Record => None,
            Boot::Qemu => Some(Machines::new(self.machines, self.durable)?),
        };
        let names = AzureNames::new(self.blob_host.as_deref())?;
        create_private_dir(&self.state_dir)?;
        let state_dir = std::path::absolute(&self.state_dir)
            .map_err(|source| EmulatorError::io("find", &self.state_dir, source))?;
        let mut lock = StateLock::take(&state_dir, self.lock_patience).await?;
        let arm_listener = Listening::bind(self.arm_port, "Resource Manager").await?;
        let blob_listener = Listening::bind(self.blob_port, "page blobs").await?;
        let proxy_listener = match self.proxy_port {
            Some(port) => Some(Listening::bind(port, "the proxy").await?),
            None => None,
        };
        let proxy_url = proxy_listener
            .as_ref()
            .map(|listener| format!("http://127.0.0.1:{}", listener.port()));
        let (arm_port, blob_port) = (arm_listener.port(), blob_listener.port());
        let arm_url = format!("https://localhost:{arm_port}");
        let blob_url = if self.blob_https {
            format!("https://localhost:{blob_port}")
        } else {
            format!("http://127.0.0.1:{blob_port}")
        };
        let blob_urls = match &self.blob_host {
            None => BlobUrls::Loopback {
                base: blob_url.clone(),
            },
            Some(suffix) => BlobUrls::Azure {
                suffix: suffix.clone(),
                port: (proxy_listener.is_none() && blob_port != 443).then_some(blob_port),
            },
        };

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let doors = self.ssh_at.map(|rule| Doors::new(rule, &tasks, &stop));
        let faults = Faults::with_clock(self.clock.clone());
        faults.replace(self.faults);
        let settings = Settings {
            state_dir: state_dir.clone(),
            arm_url: arm_url.clone(),
            timing: self.timing,
            blob_urls,
            durable: self.durable,
            machines,
            doors,
            versions_from_disks: self.versions_from_disks,
            page_size: self.page_size,
            access: self.access,
            nic_reservation: self.nic_reservation,
            offer: self.offer,
            assumed: self.assumed,
        };
        let (clock, durable, unregistered) = (self.clock, self.durable, self.unregistered);
        let (opened_faults, opened_names) = (faults.clone(), names.clone());
        let (sas_shape, blob_names) = (self.sas_shape, names.clone());
        let (announced_blob_url, announced_proxy_url) = (blob_url.clone(), proxy_url.clone());
        let (tls, blobs, arm) = tokio::task::spawn_blocking(move || {
            let tls = Tls::open(&state_dir, opened_names)?;
            let store = Store::open(&state_dir, durable)?;
            let options = Options {
                durable,
                sas_shape,
                names: blob_names,
                identity: Some(store.state.identity.clone()),
            };
            let blobs = PageBlobs::open(&state_dir, clock.clone(), opened_faults.clone(), options)
                .map_err(|source| {
                    EmulatorError::io("open the page blobs of", &state_dir, source)
                })?;
            let identity = &store.state.identity;
            lock.announce(&Running {
                process: std::process::id(),
                arm_url: settings.arm_url.clone(),
                blob_url: announced_blob_url,
                proxy_url: announced_proxy_url,
                ca_path: tls.ca_path.clone(),
                state_dir,
                subscription_id: identity.subscription_id.to_string(),
                tenant_id: identity.tenant_id.to_string(),
                client_id: identity.client_id.to_string(),
                client_secret: identity.client_secret.clone(),
            })?;
            let arm = Arm::open(settings, store, blobs.clone(), clock, opened_faults, lock);
            arm.start_unregistered(&unregistered)?;
            arm.resume_copies();
            arm.resume_machines();
            arm.set_doors();
            Ok::<_, EmulatorError>((tls, blobs, arm))
        })
        .await
        .map_err(|source| {
            EmulatorError::new("opening the state directory was interrupted").with_source(source)
        })??;

        arm_listener.serve(
            crate::arm::router(Arc::clone(&arm)),
            Speaks::Tls(Arc::clone(&tls.server)),
            (Plane::Arm, faults.clone()),
            &tasks,
            stop.clone(),
        );
        blob_listener.serve(
            blobs.router(),
            Speaks::Either(tls.server),
            (Plane::Blob, faults.clone()),
            &tasks,
            stop.clone(),
        );
        if let Some(listener) = proxy_listener {
            let targets = proxy::Targets {
                names,
                arm_port,
                blob_port,
            };
            proxy::serve(listener, targets, &tasks, stop.clone());
        }
        tracing::info!(arm = %arm_url, blobs = %blob_url, "the local Azure is up");
        Ok(Emulator {
            arm,
            blob_url,
            proxy_url,
            ca_pem: tls.ca_pem,
            ca_path: tls.ca_path,
            faults,
            tasks,
            stop,
        })
    }
}
