//! Waiting for machines that were made.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::console::Console;
use super::probe::{self, Knock};
use super::{Until, Wait, not_waited};
use crate::arm::Client;
use crate::azure::Azure;
use crate::handle::Work;
use crate::progress::Phase;
use crate::quote::for_shell;
use crate::undo::{AT_A_TIME, Undo};
use crate::vm::booted::BootedVm;
use crate::vm::info::{ANSWERS_NOBODY, PowerState, SSH, keeps_log, power_state, ssh_port};
use crate::vm::patience::Patience;
use crate::vm::ready::Readiness;
use crate::{Error, ErrorKind, Result};

/// The longest wait between two looks: a machine boots in less than a minute.
const LONGEST: Duration = Duration::from_secs(5);

/// Time for one knock.
const KNOCK: Duration = Duration::from_secs(10);
const SHORTEST_KNOCK: Duration = Duration::from_secs(1);

/// Time between two looks at what Azure says of a machine, and the part of it for each machine of a
/// fleet: Resource Manager takes some hundreds of questions in a minute, of all callers together.
const LOOK: Duration = Duration::from_secs(15);
const LOOK_EACH: Duration = Duration::from_millis(250);

/// Knocks at a time: each holds a file open, of which some systems give a process no more than 256. A
/// thousand machines that say nothing are all knocked at in 100 seconds even so.
const KNOCKS: usize = 100;

/// What all machines of a wait share, so that many of them ask for no more at a time than few do.
#[derive(Debug)]
struct Gates {
    /// To Resource Manager.
    azure: Semaphore,
    /// To the machines.
    machines: Semaphore,
    /// Time between two looks at what Azure says of a machine that runs, and of one that does not yet.
    every: Duration,
    soon: Duration,
}

impl Gates {
    fn of(count: usize) -> Self {
        let each = LOOK_EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        Self {
            azure: Semaphore::new(AT_A_TIME),
            machines: Semaphore::new(KNOCKS),
            every: LOOK.max(each),
            soon: each,
        }
    }

    fn until_next_look(&self, state: &State) -> Duration {
        if state.power == PowerState::Running {
            self.every
        } else {
            self.soon
        }
    }
}

/// Waits in front of a gate.
async fn through(gate: &Semaphore) -> Result<SemaphorePermit<'_>> {
    gate.acquire()
        .await
        .map_err(|_| Error::new(ErrorKind::Internal, "the gate is closed"))
}

/// What Azure says of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    power: PowerState,
    /// `None` when it answers nobody.
    port: Option<u16>,
    keeps_log: bool,
}

/// A machine that is waited for.
#[async_trait]
trait Awaited: Send + Sync {
    /// `None` when it is gone.
    async fn state(&self) -> Result<Option<State>>;
    async fn knock(&self, port: u16, within: Duration) -> Knock;
}

/// How the wait for one machine ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ready {
    Running,
    /// It runs and says that it answers nobody, which is all that can be waited for.
    AnswersNobody,
    Ssh {
        port: u16,
        keeps_log: bool,
    },
}

/// A machine of Azure.
struct Real<'a> {
    client: &'a Client,
    vm: &'a BootedVm,
    host: Option<IpAddr>,
}

impl<'a> Real<'a> {
    fn new(client: &'a Client, vm: &'a BootedVm) -> Self {
        let host = [&vm.public_ip, &vm.public_ipv6, &vm.private_ip]
            .into_iter()
            .flatten()
            .find_map(|address| address.parse().ok());
        Self { client, vm, host }
    }
}

#[async_trait]
impl Awaited for Real<'_> {
    async fn state(&self) -> Result<Option<State>> {
        let found = self
            .client
            .machine(&self.vm.resource_group, &self.vm.name)
            .await?;
        Ok(found.map(|machine| State {
            power: power_state(&machine),
            port: ssh_port(&machine),
            keeps_log: keeps_log(&machine),
        }))
    }

    async fn knock(&self, port: u16, within: Duration) -> Knock {
        match self.host {
            Some(host) => probe::knock(host, port, within).await,
            None => Knock::Unreachable("its address is not known".to_owned()),
        }
    }
}

/// Decides what becomes of machines that were waited for. One that is late is as it was asked for and is
/// kept, to be looked at; after a cancel nothing is.
///
/// # Errors
/// That of the wait.
pub(in crate::vm) async fn keep(
    waited: Result<Vec<BootedVm>>,
    undo: Undo,
    work: &Work,
) -> Result<Vec<BootedVm>> {
    match waited {
        Err(error) if error.is_cancelled() => undo.finish(work, Err(error)).await,
        waited => waited,
    }
}

/// Waits for all machines side by side, with as many questions under way as a wait for a few has. They
/// stay whatever comes of it, unless it was cancelled.
///
/// # Errors
/// [`ErrorKind::Timeout`] when one is not ready in time, with what is known of why;
/// [`ErrorKind::Conflict`] when it was stopped or says that it answers nobody; that it was cancelled.
pub(in crate::vm) async fn wait(
    azure: &Azure,
    client: &Client,
    wait: &Wait,
    machines: Vec<BootedVm>,
    work: &Work,
) -> Result<Vec<BootedVm>> {
    if wait.until == Until::Created {
        return Ok(machines);
    }
    let what = match machines.as_slice() {
        [one] => one.name.clone(),
        several => format!("{} machines", several.len()),
    };
    work.progress.phase(wait.phase(), what);
    let real: Vec<Real<'_>> = machines.iter().map(|vm| Real::new(client, vm)).collect();
    let awaited: Vec<(&dyn Awaited, &BootedVm)> = real
        .iter()
        .map(|real| -> &dyn Awaited { real })
        .zip(&machines)
        .collect();
    let mut ready = Vec::new();
    let mut failed = None;
    let mut others = Vec::new();
    for (result, vm) in all_ready(&awaited, wait, work)
        .await
        .into_iter()
        .zip(&machines)
    {
        match result {
            Ok(one) => ready.push(one),
            Err(error) if error.is_cancelled() => return Err(error),
            Err(_) if failed.is_some() => others.push(vm.name.as_str()),
            Err(error) => failed = Some((vm, error)),
        }
    }
    let Some((vm, error)) = failed else {
        // Collected first: a stream of closures that borrow is not known to be `Send`.
        let known: Vec<_> = ready
            .into_iter()
            .zip(&real)
            .map(|(ready, real)| Change::of(azure, wait, ready, real, work))
            .collect();
        let known: Vec<Result<Change>> = stream::iter(known).buffered(AT_A_TIME).collect().await;
        return machines
            .iter()
            .zip(known)
            .map(|(vm, change)| Ok(change?.apply(vm.clone())))
            .collect();
    };
    // One console is shown, so one is read.
    let console = Console::new(azure, &vm.resource_group, &vm.name);
    let explained = async { Ok(console.explain(error).await) };
    let error = work.interruptible(explained).await?;
    Err(if others.is_empty() {
        error
    } else {
        error.with_context("not ready either", others.join(", "))
    })
}

/// Waits for each. All share what may be asked at a time.
async fn all_ready(
    machines: &[(&dyn Awaited, &BootedVm)],
    wait: &Wait,
    work: &Work,
) -> Vec<Result<Ready>> {
    let gates = Gates::of(machines.len());
    let all = machines
        .iter()
        .map(|(machine, vm)| until_ready(*machine, wait, &gates, vm, work));
    futures::future::join_all(all).await
}

impl Wait {
    fn phase(&self) -> Phase {
        match self.until {
            Until::Ssh => Phase::WaitingForSsh,
            Until::Created | Until::Running => Phase::Waiting,
        }
    }
}

/// What is known of a machine once it is ready.
struct Change {
    ready: Readiness,
    port: u16,
    notes: Vec<String>,
    fingerprints: Vec<String>,
    known_hosts: Vec<String>,
}

impl Change {
    fn apply(self, mut vm: BootedVm) -> BootedVm {
        vm.ready = self.ready;
        if self.port != SSH {
            vm.set_ssh_port(self.port);
        }
        vm.host_key_fingerprints = self.fingerprints;
        vm.known_hosts = self.known_hosts;
        vm.notes.extend(self.notes);
        vm
    }
}

impl Change {
    async fn of(
        azure: &Azure,
        wait: &Wait,
        ready: Ready,
        real: &Real<'_>,
        work: &Work,
    ) -> Result<Self> {
        let mut change = Self {
            ready: Readiness::Running,
            port: SSH,
            notes: wait.note.iter().cloned().collect(),
            fingerprints: Vec::new(),
            known_hosts: Vec::new(),
        };
        match ready {
            Ready::Running => {}
            Ready::AnswersNobody => change.notes.push(not_waited(&answers_nobody())),
            Ready::Ssh { port, keeps_log } => {
                change.ready = Readiness::Ssh;
                change.port = port;
                let console = Console::new(azure, &real.vm.resource_group, &real.vm.name);
                change
                    .note_host_keys(&console, keeps_log, real.host, work)
                    .await?;
            }
        }
        Ok(change)
    }

    /// Reads the host keys from the serial log, once: what is not there yet is read again by whoever
    /// logs in.
    async fn note_host_keys(
        &mut self,
        console: &Console,
        keeps_log: bool,
        host: Option<IpAddr>,
        work: &Work,
    ) -> Result<()> {
        if !keeps_log {
            self.notes.push(
                "the host keys cannot be known beforehand: the serial log is not kept, since boot diagnostics are off".to_owned(),
            );
            return Ok(());
        }
        let read = async { Ok(console.host_keys().await) };
        match work.interruptible(read).await? {
            Err(error) => {
                let note = format!("the host keys cannot be known beforehand: {error}");
                self.notes.push(note);
            }
            Ok(keys) => {
                if let Some(host) = host {
                    let host = match self.port {
                        SSH => host.to_string(),
                        port => format!("[{host}]:{port}"),
                    };
                    self.known_hosts = keys.known_hosts(&host);
                }
                self.fingerprints = keys.fingerprints;
            }
        }
        Ok(())
    }
}

/// Looks again and again.
async fn until_ready(
    machine: &dyn Awaited,
    wait: &Wait,
    gates: &Gates,
    vm: &BootedVm,
    work: &Work,
) -> Result<Ready> {
    let ends = Instant::now() + wait.limit;
    let mut patience = Patience::between(wait.limit, LONGEST);
    let mut seen: Option<(State, Instant)> = None;
    loop {
        let is_old = seen
            .as_ref()
            .is_none_or(|(state, at)| at.elapsed() >= gates.until_next_look(state));
        if is_old {
            let asked = async {
                let _asking = through(&gates.azure).await?;
                Ok(machine.state().await)
            };
            match work.interruptible(asked).await? {
                Ok(Some(state)) => seen = Some((state, Instant::now())),
                Ok(None) => {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("the machine {} is gone: somebody deleted it", vm.name),
                    ));
                }
                // The service may be better at the next look.
                Err(error) if error.is_retryable() => {
                    tracing::info!(machine = %vm.id, "its state is not known: {error}");
                }
                Err(error) => return Err(kept(error, vm)),
            }
        }
        let known = match &seen {
            None => "Azure does not say whether it runs".to_owned(),
            Some((state, _)) => match look(machine, wait, state, ends, gates, work).await? {
                Look::Ready(ready) => return Ok(ready),
                Look::Never(why) => {
                    let message = format!("the machine {} is not ready: {why}", vm.name);
                    return Err(kept(Error::new(ErrorKind::Conflict, message), vm));
                }
                Look::NotYet(known) => known,
            },
        };
        let late = late(wait, vm, &known);
        patience.wait(work, late).await?;
    }
}

/// What one look says.
enum Look {
    Ready(Ready),
    NotYet(String),
    Never(String),
}

async fn look(
    machine: &dyn Awaited,
    wait: &Wait,
    state: &State,
    ends: Instant,
    gates: &Gates,
    work: &Work,
) -> Result<Look> {
    match state.power {
        PowerState::Running => {}
        PowerState::Stopped
        | PowerState::Stopping
        | PowerState::Deallocated
        | PowerState::Deallocating => {
            return Ok(Look::Never(format!(
                "it is {}; somebody stopped it",
                state.power
            )));
        }
        _ => {
            return Ok(Look::NotYet(format!(
                "Azure says that it is {}",
                state.power
            )));
        }
    }
    if wait.until == Until::Running {
        return Ok(Look::Ready(Ready::Running));
    }
    let Some(port) = state.port else {
        return Ok(if wait.is_auto {
            Look::Ready(Ready::AnswersNobody)
        } else {
            Look::Never(answers_nobody())
        });
    };
    let knocking = async {
        let _open = through(&gates.machines).await?;
        let within = ends
            .saturating_duration_since(Instant::now())
            .clamp(SHORTEST_KNOCK, KNOCK);
        Ok(machine.knock(port, within).await)
    };
    Ok(match work.interruptible(knocking).await? {
        Knock::Ssh(banner) => {
            tracing::info!("{banner} answers");
            Look::Ready(Ready::Ssh {
                port,
                keeps_log: state.keeps_log,
            })
        }
        other => Look::NotYet(format!("it runs; at port {port}: {other}")),
    })
}

/// Why ssh is not waited for on a local Azure, and what to do about it.
fn answers_nobody() -> String {
    format!("it {ANSWERS_NOBODY} (`azure-nixos emulator --boot qemu` boots them)")
}

/// That a machine was not ready in time.
fn late(wait: &Wait, vm: &BootedVm, known: &str) -> Error {
    let goal = match wait.until {
        Until::Ssh => "answer ssh",
        Until::Created | Until::Running => "run",
    };
    let message = format!(
        "the machine {} does not {goal} after {} seconds: {known}",
        vm.name,
        wait.limit.as_secs()
    );
    let mut error = Error::new(ErrorKind::Timeout, message).with_retryable(false);
    if let Some(range) = wait.range.as_ref().filter(|_| wait.until == Until::Ssh) {
        error = error.with_context(
            "let in at port 22",
            format!("{range}; from elsewhere nothing answers"),
        );
    }
    if wait.joins && wait.until == Until::Ssh {
        error = error.with_context(
            "let in at port 22",
            "what the rules of its subnet let in, too",
        );
    }
    kept(error, vm)
}

/// The error of a machine that stays.
fn kept(error: Error, vm: &BootedVm) -> Error {
    let which = format!(
        "-g {} -n {}",
        for_shell(&vm.resource_group),
        for_shell(&vm.name)
    );
    let mut error = error.with_context("kept to be looked at", vm.id.as_str());
    if let Some(command) = &vm.ssh_command {
        error = error.with_context("log in", command);
    }
    error
        .with_better_hint(format!(
            "it costs money while it is there: `azure-nixos delete-vm {which}` deletes it; `azure-nixos serial-log {which} --follow` shows what it does, and --wait-timeout gives it more time"
        ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// How many do something at the same time.
    #[derive(Debug, Default)]
    struct Gauge {
        now: AtomicUsize,
        most: AtomicUsize,
        all: AtomicUsize,
    }

    impl Gauge {
        async fn during(&self, time: Duration) {
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            self.all.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(time).await;
            self.now.fetch_sub(1, Ordering::Relaxed);
        }

        fn count(&self) -> usize {
            self.all.load(Ordering::Relaxed)
        }

        fn most(&self) -> usize {
            self.most.load(Ordering::Relaxed)
        }
    }

    /// A machine that goes on by one look at each question.
    #[derive(Default)]
    struct Scripted {
        states: Mutex<Vec<Result<Option<State>>>>,
        knocks: Mutex<Vec<Knock>>,
        ports: Mutex<Vec<u16>>,
        /// Questions to Azure that are under way, and knocks that are. A question takes so long.
        asking: Arc<Gauge>,
        knocking: Arc<Gauge>,
        answer: Duration,
    }

    #[async_trait]
    impl Awaited for Scripted {
        async fn state(&self) -> Result<Option<State>> {
            self.asking.during(self.answer).await;
            let mut states = self.states.lock().unwrap();
            if states.len() > 1 {
                return states.remove(0);
            }
            // The last one stays.
            match &states[0] {
                Ok(state) => Ok(state.clone()),
                Err(error) => Err(Error::new(error.kind(), error.to_string())),
            }
        }

        async fn knock(&self, port: u16, within: Duration) -> Knock {
            self.ports.lock().unwrap().push(port);
            let knock = {
                let mut knocks = self.knocks.lock().unwrap();
                if knocks.len() > 1 {
                    knocks.remove(0)
                } else {
                    knocks[0].clone()
                }
            };
            let time = if knock == Knock::Silent {
                within
            } else {
                self.answer
            };
            self.knocking.during(time).await;
            knock
        }
    }

    fn state(power: PowerState, port: Option<u16>) -> Result<Option<State>> {
        Ok(Some(State {
            power,
            port,
            keeps_log: true,
        }))
    }

    fn running() -> Result<Option<State>> {
        state(PowerState::Running, Some(22))
    }

    fn machine(states: Vec<Result<Option<State>>>, knocks: Vec<Knock>) -> Scripted {
        Scripted {
            states: Mutex::new(states),
            knocks: Mutex::new(knocks),
            ..Scripted::default()
        }
    }

    fn vm() -> BootedVm {
        BootedVm::sample("web-1", "my(group)")
    }

    fn options(until: Until, is_auto: bool) -> Wait {
        Wait {
            until,
            limit: Duration::from_secs(600),
            is_auto,
            note: None,
            range: Some("203.0.113.0/24".to_owned()),
            joins: false,
        }
    }

    async fn wait_for(machine: &Scripted, wait: &Wait) -> Result<Ready> {
        until_ready(machine, wait, &Gates::of(1), &vm(), &Work::default()).await
    }

    fn ssh(port: u16) -> Ready {
        Ready::Ssh {
            port,
            keeps_log: true,
        }
    }

    fn banner() -> Knock {
        Knock::Ssh("SSH-2.0-x".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_when_ssh_answers() {
        let one = machine(
            vec![state(PowerState::Starting, Some(22)), running()],
            vec![
                Knock::Silent,
                Knock::Refused,
                Knock::Other(String::new()),
                banner(),
            ],
        );
        let started = Instant::now();
        assert_eq!(
            wait_for(&one, &options(Until::Ssh, false)).await.unwrap(),
            ssh(22)
        );
        let waited = started.elapsed();
        // The first state counts for a while, and one knock is not answered.
        assert!(
            waited > KNOCK && waited < Duration::from_secs(60),
            "{waited:?}"
        );
        assert_eq!(one.ports.lock().unwrap().len(), 4);
        // Where the machine has its port is known from what Azure says of it.
        let moved = machine(
            vec![state(PowerState::Running, Some(40022))],
            vec![banner()],
        );
        assert_eq!(
            wait_for(&moved, &options(Until::Ssh, true)).await.unwrap(),
            ssh(40022)
        );
        assert_eq!(*moved.ports.lock().unwrap(), [40022]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_running_when_azure_says_so() {
        let one = machine(
            vec![
                state(PowerState::Unknown, None),
                state(PowerState::Starting, None),
                running(),
            ],
            Vec::new(),
        );
        let ready = wait_for(&one, &options(Until::Running, false))
            .await
            .unwrap();
        assert_eq!(ready, Ready::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_told_with_what_is_known() {
        for (knock, part) in [
            (Knock::Silent, "nothing answers"),
            (Knock::Refused, "refused"),
            (
                Knock::Other("HTTP/1.1".to_owned()),
                "no ssh server: it says \"HTTP/1.1\"",
            ),
            (Knock::Unreachable("no route".to_owned()), "no route"),
        ] {
            let started = Instant::now();
            let late = wait_for(
                &machine(vec![running()], vec![knock]),
                &options(Until::Ssh, false),
            )
            .await
            .unwrap_err();
            let waited = started.elapsed().as_secs();
            assert!((580..=610).contains(&waited), "{waited}");
            assert_eq!(late.kind(), ErrorKind::Timeout);
            let report = late.report();
            for part in [
                part,
                "web-1 does not answer ssh after 600 seconds",
                "203.0.113.0/24",
                "/virtualMachines/web-1",
                "azure-nixos delete-vm -g 'my(group)' -n web-1",
            ] {
                assert!(report.contains(part), "{part}: {report}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_not_waited_for() {
        let ssh = options(Until::Ssh, false);
        let started = Instant::now();
        let nobody = || machine(vec![state(PowerState::Running, None)], Vec::new());
        let refused = wait_for(&nobody(), &ssh).await.unwrap_err();
        assert!(refused.to_string().contains("answers nobody"), "{refused}");
        let auto = wait_for(&nobody(), &options(Until::Ssh, true))
            .await
            .unwrap();
        assert_eq!(auto, Ready::AnswersNobody);
        assert_eq!(started.elapsed(), Duration::ZERO);

        let stopped = machine(
            vec![running(), state(PowerState::Deallocated, Some(22))],
            vec![Knock::Refused],
        );
        let refused = wait_for(&stopped, &ssh).await.unwrap_err();
        assert!(
            refused.to_string().contains("somebody stopped it"),
            "{refused}"
        );
        let gone = machine(vec![running(), Ok(None)], vec![Knock::Refused]);
        assert!(wait_for(&gone, &ssh).await.unwrap_err().is_not_found());
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_fails_for_a_while_is_no_end() {
        let error = |kind| Err(Error::new(kind, "no"));
        let one = machine(vec![error(ErrorKind::Network), running()], vec![banner()]);
        assert_eq!(
            wait_for(&one, &options(Until::Ssh, false)).await.unwrap(),
            ssh(22)
        );
        let forbidden = machine(vec![error(ErrorKind::Forbidden)], Vec::new());
        let refused = wait_for(&forbidden, &options(Until::Ssh, false))
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden);
        assert!(refused.hint().unwrap().contains("delete-vm"));
    }

    #[tokio::test(start_paused = true)]
    async fn many_ask_for_no_more_at_a_time_than_few() {
        let (asking, knocking) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
        let machines: Vec<Scripted> = (0..1000)
            .map(|_| Scripted {
                asking: Arc::clone(&asking),
                knocking: Arc::clone(&knocking),
                answer: Duration::from_millis(100),
                ..machine(vec![running()], vec![Knock::Silent, banner()])
            })
            .collect();
        let (wait, vm) = (options(Until::Ssh, false), vm());
        let all: Vec<(&dyn Awaited, &BootedVm)> = machines
            .iter()
            .map(|one| -> (&dyn Awaited, _) { (one, &vm) })
            .collect();
        let started = Instant::now();
        let ready = all_ready(&all, &wait, &Work::default()).await;
        let waited = started.elapsed();
        assert!(ready.into_iter().all(|ready| ready.unwrap() == ssh(22)));
        assert_eq!((asking.most(), knocking.most()), (AT_A_TIME, KNOCKS));
        // All have their turn: ten rounds of ten seconds, and some for those who wait.
        assert!(waited < Duration::from_secs(150), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_start_are_asked_for_as_often_as_azure_bears() {
        let asked = |count| async move {
            let one = machine(vec![state(PowerState::Starting, None)], vec![Knock::Silent]);
            let wait = options(Until::Running, false);
            let (gates, work) = (Gates::of(count), Work::default());
            let late = until_ready(&one, &wait, &gates, &vm(), &work).await;
            assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
            one.asking.count()
        };
        assert!(asked(1).await > 100);
        assert_eq!(asked(1000).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_can_be_cancelled() {
        let one = machine(vec![running()], vec![Knock::Silent]);
        let work = Work::default();
        let cancel = work.cancel.clone();
        let (wait, vm) = (options(Until::Ssh, false), vm());
        let gates = Gates::of(1);
        let waiting = until_ready(&one, &wait, &gates, &vm, &work);
        let cancelling = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            cancel.cancel();
        };
        let started = Instant::now();
        let (ended, ()) = futures::join!(waiting, cancelling);
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(started.elapsed(), Duration::from_secs(3));
    }
}
