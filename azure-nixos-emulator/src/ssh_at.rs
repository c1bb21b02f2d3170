//! Ssh servers that stand for machines: port 22 of a machine's public address leads to one.
//!
//! Machines that are only written down answer nobody. Here somebody says which server of this host
//! answers for which machine, and [`Doors`] listens at the public addresses, which are this host's
//! own. Which machines can be reached at all is Resource Manager's business; it says so after each
//! request. Nothing here listens or connects anywhere but on loopback.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::EmulatorBuilder;
use crate::emulator::Emulator;
use crate::error::EmulatorError;

/// The port of ssh.
pub(crate) const SSH: u16 = 22;

/// How long a port may take to be free again after it was closed.
const CLOSING: Duration = Duration::from_millis(200);

/// A machine's server by the machine's name.
type ServerOf = dyn Fn(&str) -> Option<SocketAddr> + Send + Sync;

/// Says which server answers for a machine.
#[derive(Clone)]
pub(crate) struct Rule(Arc<ServerOf>);

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").finish_non_exhaustive()
    }
}

/// A machine that runs and whose security groups let everybody in at port 22.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reachable {
    /// Its id and its name.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) public: Ipv4Addr,
}

/// The ports that are listened on for machines. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Doors(Arc<Inner>);

struct Inner {
    rule: Rule,
    /// What was said of single machines while it runs, by their names in lower case.
    said: Mutex<BTreeMap<String, Option<SocketAddr>>>,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    doors: BTreeMap<Ipv4Addr, Door>,
    /// Those that were closed; each is alive until its port is free.
    closing: BTreeMap<Ipv4Addr, Weak<()>>,
}

struct Door {
    machine: String,
    target: SocketAddr,
    port: u16,
    alive: Weak<()>,
    shut: CancellationToken,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    /// Called in a runtime, which the connections are then tasks of.
    pub(crate) fn new(rule: Rule, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        Self(Arc::new(Inner {
            rule,
            said: Mutex::default(),
            runtime: Handle::current(),
            tasks: tasks.clone(),
            stop: stop.clone(),
            open: Mutex::default(),
        }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<String, Option<SocketAddr>>> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server that answers for a machine now.
    fn target(&self, name: &str) -> Option<SocketAddr> {
        let said = self.said().get(&name.to_ascii_lowercase()).copied();
        let target = said.unwrap_or_else(|| (self.0.rule.0)(name))?;
        if target.ip().is_loopback() {
            return Some(target);
        }
        tracing::warn!(machine = name, %target, "a server that is not on loopback answers for no machine");
        None
    }

    /// Listens for exactly these machines from now on.
    pub(crate) fn set(&self, reachable: Vec<Reachable>) {
        let wanted: BTreeMap<Ipv4Addr, (Reachable, SocketAddr)> = reachable
            .into_iter()
            .filter_map(|machine| {
                let target = self.target(&machine.name)?;
                Some((machine.public, (machine, target)))
            })
            .collect();
        let mut open = self.open();
        let Open { doors, closing } = &mut *open;
        doors.retain(|address, door| {
            let stays = wanted.get(address).is_some_and(|(machine, target)| {
                machine.id == door.machine && *target == door.target
            });
            if !stays {
                door.shut.cancel();
                closing.insert(*address, door.alive.clone());
            }
            stays
        });
        for (address, (machine, target)) in wanted {
            if doors.contains_key(&address) {
                continue;
            }
            if !address.is_loopback() {
                tracing::warn!(
                    machine = %machine.id, %address,
                    "a public address from before this was set is not this host's; make it anew to reach the machine"
                );
                continue;
            }
            wait_for(closing.remove(&address));
            match self.listen(&machine, target) {
                Ok(door) => {
                    tracing::info!(machine = %machine.id, "ssh is at {address}:{}", door.port);
                    doors.insert(address, door);
                }
                Err(error) => {
                    tracing::warn!(machine = %machine.id, %address, %error, "port 22 stays closed");
                }
            }
        }
    }

    /// Port 22 itself where it can be had, else any.
    fn listen(&self, machine: &Reachable, target: SocketAddr) -> io::Result<Door> {
        let listener = TcpListener::bind((machine.public, SSH))
            .or_else(|_| TcpListener::bind((machine.public, 0)))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shut = self.0.stop.child_token();
        let alive = Arc::new(());
        let door = Door {
            machine: machine.id.clone(),
            target,
            port,
            alive: Arc::downgrade(&alive),
            shut: shut.clone(),
        };
        let (doors, name) = (self.clone(), machine.name.clone());
        let serve = async move {
            doors.serve(listener, &name, shut).await;
            drop(alive);
        };
        self.0.tasks.spawn_on(serve, &self.0.runtime);
        Ok(door)
    }

    async fn serve(&self, listener: TcpListener, name: &str, shut: CancellationToken) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(machine = name, %error, "port 22 is not served");
                return;
            }
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = shut.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match (accepted, self.target(name)) {
                (Ok((stream, _)), Some(target)) => {
                    self.0.tasks.spawn(carry(stream, target, shut.clone()));
                }
                // The rule has nobody for the machine any more: the connection is closed.
                (Ok(_), None) => {}
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Whether a server stands for a machine.
    pub(crate) fn answers(&self, name: &str) -> bool {
        self.target(name).is_some()
    }

    /// The ports of a machine that are not where they should be, in words.
    pub(crate) fn moved_ports(&self, machine: &str) -> Vec<String> {
        self.open()
            .doors
            .iter()
            .filter(|(_, door)| door.port != SSH && door.machine.eq_ignore_ascii_case(machine))
            .map(|(address, door)| {
                format!(
                    "port {SSH} of {address} is reached at {address}:{}",
                    door.port
                )
            })
            .collect()
    }
}

/// Waits for a port that was closed to be free, for a moment.
fn wait_for(closing: Option<Weak<()>>) {
    let step = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    while closing.as_ref().is_some_and(|one| one.strong_count() > 0) && waited < CLOSING {
        std::thread::sleep(step);
        waited += step;
    }
}

/// Carries bytes until either side has enough, or the machine is not to be reached any more.
async fn carry(mut from: TcpStream, target: SocketAddr, shut: CancellationToken) {
    let carried = async {
        let mut to = TcpStream::connect(target).await?;
        tokio::io::copy_bidirectional(&mut from, &mut to).await
    };
    tokio::select! {
        () = shut.cancelled() => {}
        carried = carried => {
            if let Err(error) = carried {
                tracing::debug!(%error, %target, "a connection to a machine ended early");
            }
        }
    }
}

impl EmulatorBuilder {
    /// Lets servers of this host stand for machines: the rule gives the name of a machine the
    /// address of the ssh server that answers for it, which has to be on loopback, or `None`.
    ///
    /// Public addresses are then this host's (127.32.0.1 to 127.63.255.254), as with
    /// [`Boot::Qemu`](crate::Boot::Qemu), which excludes this. Port 22 of a machine's is forwarded
    /// while the machine runs and its security groups let everybody in there; where the port cannot
    /// be had, another one is, and the instance view of the machine says which. The rule is asked
    /// after each request and at each connection, and must not ask the emulator itself. [`Emulator::set_ssh_at`] says it of single machines
    /// while it runs. Default: machines answer nobody.
    ///
    /// ```no_run
    /// # use azure_nixos_emulator::Emulator;
    /// # use std::net::{Ipv4Addr, SocketAddr};
    /// let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 2022));
    /// let azure = Emulator::builder().ssh_at(move |machine| machine.starts_with("web").then_some(server));
    /// ```
    #[must_use]
    pub fn ssh_at(
        mut self,
        rule: impl Fn(&str) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.ssh_at = Some(Rule(Arc::new(rule)));
        self
    }
}

impl Emulator {
    /// Says which ssh server answers for the machine of a name from now on, or that none does, in
    /// place of the rule of [`EmulatorBuilder::ssh_at`].
    ///
    /// # Errors
    /// When there is no such rule, or the server is not on loopback.
    pub fn set_ssh_at(
        &self,
        machine: &str,
        server: Option<SocketAddr>,
    ) -> Result<(), EmulatorError> {
        let Some(doors) = &self.arm.settings().doors else {
            return Err(EmulatorError::new(
                "nothing answers for machines: the emulator was started without ssh_at",
            ));
        };
        if let Some(server) = server.filter(|server| !server.ip().is_loopback()) {
            return Err(EmulatorError::new(format!(
                "{server} is not on loopback and cannot answer for a machine"
            )));
        }
        doors.said().insert(machine.to_ascii_lowercase(), server);
        self.arm.set_doors();
        Ok(())
    }
}
