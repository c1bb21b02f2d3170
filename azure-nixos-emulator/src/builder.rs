//! The settings of a local Azure, and its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arm::pace::Timing;
use crate::arm::{Arm, Settings};
use crate::blob::PageBlobs;
use crate::clock::Clock;
use crate::emulator::Emulator;
use crate::error::EmulatorError;
use crate::fault::Faults;
use crate::lock::StateLock;
use crate::server::Listening;
use crate::state::{Store, create_private_dir};
use crate::tls::Tls;

/// The settings of a local Azure; made by [`Emulator::builder`].
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    state_dir: PathBuf,
    arm_port: u16,
    blob_port: u16,
    timing: Timing,
    clock: Clock,
    durable: bool,
    lock_patience: Duration,
    unregistered: Vec<String>,
}

impl EmulatorBuilder {
    pub(crate) fn new() -> Self {
        Self {
            state_dir: PathBuf::from("local-azure"),
            arm_port: 0,
            blob_port: 0,
            timing: Timing::default(),
            clock: Clock::new(),
            durable: false,
            lock_patience: Duration::from_secs(30),
            unregistered: Vec::new(),
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

    /// Starts it: both ports are listened on when this returns.
    ///
    /// # Errors
    /// When the state directory cannot be used or is in use, or a port is taken; the text says
    /// which and what to do.
    ///
    /// # Cancellation
    /// A dropped future has started nothing; what was made in the state directory stays there.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        create_private_dir(&self.state_dir)?;
        let state_dir = std::path::absolute(&self.state_dir)
            .map_err(|source| EmulatorError::io("find", &self.state_dir, source))?;
        let lock = StateLock::take(&state_dir, self.lock_patience).await?;
        let arm_listener = Listening::bind(self.arm_port, "Resource Manager").await?;
        let blob_listener = Listening::bind(self.blob_port, "page blobs").await?;
        let arm_url = format!("https://localhost:{}", arm_listener.port());
        let blob_url = format!("http://127.0.0.1:{}", blob_listener.port());

        let faults = Faults::default();
        let settings = Settings {
            state_dir: state_dir.clone(),
            arm_url: arm_url.clone(),
            blob_url: blob_url.clone(),
            timing: self.timing,
            durable: self.durable,
        };
        let (clock, durable, unregistered) = (self.clock, self.durable, self.unregistered);
        let opened_faults = faults.clone();
        let (tls, blobs, arm) = tokio::task::spawn_blocking(move || {
            let tls = Tls::open(&state_dir)?;
            let store = Store::open(&state_dir, durable)?;
            let blobs = PageBlobs::open(&state_dir, clock.clone(), opened_faults.clone(), durable)
                .map_err(|source| {
                    EmulatorError::io("open the page blobs of", &state_dir, source)
                })?;
            let arm = Arm::open(settings, store, blobs.clone(), clock, opened_faults, lock);
            arm.start_unregistered(&unregistered);
            arm.resume_copies();
            Ok::<_, EmulatorError>((tls, blobs, arm))
        })
        .await
        .map_err(|source| {
            EmulatorError::new("opening the state directory was interrupted").with_source(source)
        })??;

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        arm_listener.serve(
            crate::arm::router(Arc::clone(&arm)),
            Some(tls.server),
            &tasks,
            stop.clone(),
        );
        blob_listener.serve(blobs.router(), None, &tasks, stop.clone());
        tracing::info!(arm = %arm_url, blobs = %blob_url, "the local Azure is up");
        Ok(Emulator {
            arm,
            blob_url,
            ca_pem: tls.ca_pem,
            ca_path: tls.ca_path,
            faults,
            tasks,
            stop,
        })
    }
}
