//! Machines that boot: each is a qemu beside this process, which ends with it.
//!
//! [`Machines`] is the whole of it for the rest of the crate. Resource Manager orders a machine
//! into a power state on behalf of an operation and asks after the outcome; what a machine is made
//! of, it says with a [`Spec`]. Nothing here knows documents or ids of Azure.
//!
//! A guest sees its disk without the VHD footer, its Azure address by DHCP, an `ovf-env.xml` on a
//! CD, and the chassis by which guests tell that they are in Azure. It sees neither Hyper-V's
//! devices nor the wire server, nor, by default, anything of the network but who connects to it.

mod bmp;
mod iso9660;
mod process;
mod programs;
mod provisioning;
mod qmp;
mod serial_log;
mod settings;
mod spec;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::process::Process;
use self::programs::Programs;
use self::spec::Forward;
use crate::error::EmulatorError;

pub(crate) use self::provisioning::Provisioning;
pub use self::settings::Boot;
pub(crate) use self::settings::Options;
pub(crate) use self::spec::{Drive, Interface, Spec};

/// What has to be done to the disks of a machine before it writes to them.
pub(crate) type Prepare = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// What a machine is to be.
pub(crate) enum Want {
    /// Running. `again`: also if it runs already, from the beginning.
    On {
        spec: Box<Spec>,
        prepare: Prepare,
        again: bool,
    },
    /// Off: after a shutdown of the guest, or at once.
    Off { graceful: bool },
}

/// How a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// An order is being carried out.
    Changing,
    Up,
    /// It is off, or was never ordered to be anything.
    Down,
    Failed(String),
}

/// The machines of one local Azure. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Machines(Arc<Inner>);

struct Inner {
    programs: Programs,
    options: Options,
    durable: bool,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    machines: Mutex<HashMap<String, Machine>>,
}

#[derive(Default)]
struct Machine {
    /// The operation that ordered it, and how that ended.
    operation: Uuid,
    outcome: Option<Result<(), String>>,
    process: Option<Process>,
    forwards: Vec<Forward>,
}

impl fmt::Debug for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machines")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Machines {
    /// Finds the programs. Called in a runtime, which the machines are then tasks of.
    pub(crate) fn new(options: Options, durable: bool) -> Result<Self, EmulatorError> {
        Ok(Self(Arc::new(Inner {
            programs: Programs::find()?,
            options,
            durable,
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            machines: Mutex::default(),
        })))
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<String, Machine>> {
        self.0
            .machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders a machine into a power state, with the first call for an operation; says how that
    /// ended, once it has.
    pub(crate) fn order(
        &self,
        key: &str,
        operation: Uuid,
        want: impl FnOnce() -> Want,
    ) -> Option<Result<(), String>> {
        let mut machines = self.machines();
        if let Some(machine) = machines.get(key)
            && machine.operation == operation
        {
            return machine.outcome.clone();
        }
        let before = machines.remove(key).unwrap_or_default();
        machines.insert(
            key.to_owned(),
            Machine {
                operation,
                outcome: None,
                process: before.process.clone(),
                forwards: before.forwards.clone(),
            },
        );
        let (all, key, want) = (self.clone(), key.to_owned(), want());
        let carried_out = async move {
            let (after, outcome) = match all.carry_out(before, want).await {
                Ok(machine) => (machine, Ok(())),
                Err(problem) => (Machine::default(), Err(problem)),
            };
            let mut machines = all.machines();
            match machines.get_mut(&key) {
                Some(machine) if machine.operation == operation => {
                    *machine = Machine {
                        operation,
                        outcome: Some(outcome),
                        ..after
                    };
                }
                // It was ordered to be something else meanwhile, or is gone.
                _ => {
                    if let Some(process) = after.process {
                        process.order_power_down(Duration::ZERO);
                    }
                }
            }
        };
        self.0.tasks.spawn_on(carried_out, &self.0.runtime);
        None
    }

    async fn carry_out(&self, before: Machine, want: Want) -> Result<Machine, String> {
        let running = before.process.clone().filter(Process::is_up);
        match want {
            Want::Off { graceful } => {
                if let Some(process) = running {
                    process.power_down(self.grace(graceful)).await;
                }
                Ok(Machine::default())
            }
            Want::On { again: false, .. } if running.is_some() => Ok(before),
            Want::On { spec, prepare, .. } => {
                if let Some(process) = running {
                    process.power_down(self.grace(true)).await;
                }
                self.start(*spec, prepare).await
            }
        }
    }

    fn grace(&self, graceful: bool) -> Duration {
        if graceful {
            self.0.options.grace
        } else {
            Duration::ZERO
        }
    }

    async fn start(&self, spec: Spec, prepare: Prepare) -> Result<Machine, String> {
        let all = self.clone();
        let (spec, forwards) = tokio::task::spawn_blocking(move || {
            prepare()
                .map_err(|error| format!("its disks cannot be made ready: {error}"))
                .and_then(|()| all.lay_out(&spec))
                .map(|forwards| (spec, forwards))
        })
        .await
        .map_err(|error| error.to_string())??;
        let arguments =
            spec.arguments(&self.0.programs, &self.0.options, &forwards, self.0.durable);
        let process = Process::start(
            &spec,
            &self.0.programs.qemu,
            arguments,
            &self.0.tasks,
            self.0.stop.clone(),
        )
        .await?;
        for forward in &forwards {
            tracing::info!(machine = %spec.name, "{forward}");
        }
        Ok(Machine {
            process: Some(process),
            forwards,
            ..Machine::default()
        })
    }

    /// Makes the files that a machine has beside its disks, and finds ports for it.
    fn lay_out(&self, spec: &Spec) -> Result<Vec<Forward>, String> {
        let told = |what: &str, error: io::Error| format!("{what} cannot be made: {error}");
        std::fs::create_dir_all(&spec.directory)
            .map_err(|error| told("the directory of the machine", error))?;
        if spec.is_uefi {
            let Some((_, variables)) = &self.0.programs.firmware else {
                return Err(
                    "it is of generation V2, and OVMF is not installed (Debian: ovmf)".to_owned(),
                );
            };
            let own = spec.file("variables.fd");
            // What the firmware wrote there at an earlier start stays.
            if !own.exists() {
                let bytes = std::fs::read(variables)
                    .map_err(|error| told("the firmware's variables", error))?;
                crate::state::write_atomically(&own, &bytes, false)
                    .map_err(|error| told("the firmware's variables", error))?;
            }
        }
        if let Some(provisioning) = &spec.provisioning {
            // There can be a password in it.
            crate::state::write_atomically(
                &spec.file("provisioning.iso"),
                &provisioning.cd(),
                false,
            )
            .map_err(|error| told("the provisioning CD", error))?;
        }
        let mut forwards = Vec::new();
        for interface in &spec.interfaces {
            let Some((public, ports)) = &interface.public else {
                continue;
            };
            if !public.is_loopback() {
                tracing::warn!(
                    machine = %spec.name, address = %public,
                    "a public address from before machines booted here is not this host's; make it anew to reach the machine"
                );
                continue;
            }
            for port in ports {
                match host_port(*public, *port) {
                    Ok(host_port) => forwards.push(Forward {
                        public: *public,
                        port: *port,
                        host_port,
                        guest: interface.address,
                    }),
                    Err(error) => {
                        tracing::warn!(machine = %spec.name, %public, port, %error, "a port stays closed");
                    }
                }
            }
        }
        Ok(forwards)
    }

    /// How a machine is.
    pub(crate) fn condition(&self, key: &str) -> Condition {
        match self.machines().get(key) {
            None => Condition::Down,
            Some(machine) => match &machine.outcome {
                None => Condition::Changing,
                Some(Err(problem)) => Condition::Failed(problem.clone()),
                Some(Ok(())) if machine.process.as_ref().is_some_and(Process::is_up) => {
                    Condition::Up
                }
                Some(Ok(())) => Condition::Down,
            },
        }
    }

    /// The ports that are not where the guest has them, in words.
    pub(crate) fn moved_ports(&self, key: &str) -> Vec<String> {
        let machines = self.machines();
        let forwards = machines.get(key).map(|machine| &machine.forwards);
        forwards
            .into_iter()
            .flatten()
            .filter(|forward| forward.port != forward.host_port)
            .map(ToString::to_string)
            .collect()
    }

    /// Has the screen of a machine written among its files, if it runs.
    pub(crate) fn order_screenshot(&self, key: &str) {
        if let Some(process) = self
            .machines()
            .get(key)
            .and_then(|machine| machine.process.as_ref())
        {
            process.order_screenshot();
        }
    }

    /// Ends a machine that is gone, at once.
    pub(crate) fn discard(&self, key: &str) {
        if let Some(process) = self.machines().remove(key).and_then(|one| one.process) {
            process.order_power_down(Duration::ZERO);
        }
    }

    /// Shuts all down and waits for it.
    pub(crate) async fn shut_down(&self) {
        let running: Vec<Process> = self
            .machines()
            .drain()
            .filter_map(|(_, machine)| machine.process)
            .collect();
        let grace = self.0.options.grace;
        for process in &running {
            process.order_power_down(grace);
        }
        for mut process in running {
            process.wait().await;
        }
        self.kill();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Ends all at once, without waiting.
    pub(crate) fn kill(&self) {
        self.0.stop.cancel();
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "port {} of {} is reached at {}:{}",
            self.port, self.public, self.public, self.host_port
        )
    }
}

/// The port itself where it can be had, else any. It is free again until qemu takes it.
fn host_port(address: std::net::Ipv4Addr, port: u16) -> io::Result<u16> {
    match TcpListener::bind((address, port)) {
        Ok(_) => Ok(port),
        Err(error) => {
            tracing::debug!(%address, port, %error, "the port itself cannot be had");
            Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
        }
    }
}
