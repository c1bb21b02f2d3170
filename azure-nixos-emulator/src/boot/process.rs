//! One qemu, from its start to its end.
//!
//! It must not outlive this process, however that ends. qemu itself does not notice, so a shell
//! holds the end of a pipe for it: when the other end closes, which the system sees to, the shell
//! kills qemu. Closing the pipe is also how qemu is ended by force here.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::qmp::Qmp;
use super::serial_log::SerialLog;
use super::{bmp, spec::Spec};
use crate::arm::remove_if_there;

/// Runs its arguments, and kills what runs when standard input ends.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
machine=$!
(read -r _ <&3; kill -KILL "$machine") >/dev/null 2>&1 &
watcher=$!
wait "$machine"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// How long qemu may take until it answers. It allocates memory and loads firmware meanwhile.
const START: Duration = Duration::from_secs(30);

/// How long qemu may take to end when it is told to, before it is killed.
const QUIT: Duration = Duration::from_secs(2);

/// The most of qemu's own words that an error repeats.
const COMPLAINT: usize = 600;

enum Order {
    /// As if the power button was pressed; after this time, as if the plug was pulled.
    PowerDown(Duration),
    Screenshot,
}

/// A qemu that was started. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Process {
    orders: mpsc::UnboundedSender<Order>,
    ended: watch::Receiver<bool>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PowerDown(_) => "PowerDown",
            Self::Screenshot => "Screenshot",
        })
    }
}

impl Process {
    /// Starts qemu and waits until it runs. The files of the machine are there.
    pub(super) async fn start(
        spec: &Spec,
        qemu: &Path,
        arguments: Vec<String>,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let told = |doing: &str, error: io::Error| format!("cannot {doing}: {error}");
        let (log, socket) = (spec.file("qemu.log"), spec.file("qmp"));
        let errors = std::fs::File::create(&log).map_err(|error| told("write its log", error))?;
        remove_if_there(&socket).map_err(|error| told("remove an old socket", error))?;
        let mut child = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "machine"])
            .arg(qemu)
            .args(&arguments)
            .current_dir(&spec.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C is for this process, which shuts its machines down in order.
            .process_group(0)
            .spawn()
            .map_err(|error| told("start /bin/sh", error))?;
        let (Some(life), Some(serial)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("its pipes are missing".to_owned());
        };
        let serial_log = SerialLog::open(&spec.file("serialconsole.log"))
            .map_err(|error| told("write the serial log", error))?;
        tasks.spawn(pump(serial, serial_log));
        let qmp = tokio::select! {
            qmp = tokio::time::timeout(START, Qmp::connect(&spec.directory)) => match qmp {
                Ok(Ok(qmp)) => qmp,
                // It hangs up when it ends, and what it said then says more.
                Ok(Err(error)) => {
                    return Err(match tokio::time::timeout(QUIT, child.wait()).await {
                        Ok(ended) => complaint(&log, ended),
                        Err(_) => told("speak to qemu", error),
                    });
                }
                Err(_) => return Err(format!("qemu did not answer within {} seconds", START.as_secs())),
            },
            ended = child.wait() => return Err(complaint(&log, ended)),
            () = stop.cancelled() => return Err("the local Azure is stopping".to_owned()),
        };
        let (orders, received) = mpsc::unbounded_channel();
        let (end, ended) = watch::channel(false);
        let keeper = Keeper {
            name: spec.name.clone(),
            screen: spec.file("screenshot.bmp"),
            child,
            life: Some(life),
            qmp: Some(qmp),
            orders: received,
            kill_at: None,
            end,
        };
        tasks.spawn(keeper.run(stop));
        Ok(Self { orders, ended })
    }

    pub(super) fn is_up(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Ends it: in order if the guest does so within this time, else by force.
    pub(super) async fn power_down(mut self, grace: Duration) {
        self.order_power_down(grace);
        self.wait().await;
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) {
        // An error is the end of the task that would have said so.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// The same without waiting.
    pub(super) fn order_power_down(&self, grace: Duration) {
        // A task that is gone has nothing left to end.
        let _ = self.orders.send(Order::PowerDown(grace));
    }

    /// Has the screen written beside the other files, soon.
    pub(super) fn order_screenshot(&self) {
        let _ = self.orders.send(Order::Screenshot);
    }
}

/// What qemu said before it ended.
fn complaint(log: &Path, ended: io::Result<ExitStatus>) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let said = said.trim();
    let from = said.len().saturating_sub(COMPLAINT);
    let from = (from..=said.len())
        .find(|at| said.is_char_boundary(*at))
        .unwrap_or_default();
    match ended {
        Ok(status) => format!("qemu ended with {status}: {}", &said[from..]),
        Err(error) => format!("qemu was lost: {error}"),
    }
}

/// Writes what the guest says into the log.
async fn pump(mut serial: ChildStdout, mut log: SerialLog) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match serial.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let bytes = buffer[..read].to_vec();
        let written = tokio::task::spawn_blocking(move || {
            let written = log.append(&bytes);
            (log, written)
        });
        let Ok((again, written)) = written.await else {
            return;
        };
        log = again;
        if let Err(error) = written {
            // The guest goes on: a console that nobody reads must not stop it.
            tracing::warn!(%error, "the serial log is not written");
        }
    }
}

/// Who watches over a qemu.
struct Keeper {
    name: String,
    screen: std::path::PathBuf,
    child: Child,
    /// Closing it kills qemu.
    life: Option<ChildStdin>,
    qmp: Option<Qmp>,
    orders: mpsc::UnboundedReceiver<Order>,
    kill_at: Option<Instant>,
    end: watch::Sender<bool>,
}

impl Keeper {
    async fn run(mut self, stop: CancellationToken) {
        let mut is_stopping = false;
        loop {
            let kill_at = self.kill_at;
            let qmp = &mut self.qmp;
            tokio::select! {
                ended = self.child.wait() => {
                    match ended {
                        Ok(status) => tracing::info!(machine = %self.name, %status, "the machine is off"),
                        Err(error) => tracing::warn!(machine = %self.name, %error, "qemu was lost"),
                    }
                    break;
                }
                order = self.orders.recv() => match order {
                    Some(Order::PowerDown(grace)) => self.power_down(grace).await,
                    Some(Order::Screenshot) => {
                        let file = self.screen.with_extension("ppm");
                        self.execute("screendump", json!({ "filename": file })).await;
                    }
                    // Nobody can stop it any more, or ask after it.
                    None => self.life = None,
                },
                said = async { qmp.as_mut()?.next().await.ok() }, if qmp.is_some() => match said {
                    Some(said) if said["id"] == "screendump" && said.get("return").is_some() => {
                        self.take_screen().await;
                    }
                    Some(_) => {}
                    None => self.qmp = None,
                },
                () = async { tokio::time::sleep_until(kill_at.unwrap_or_else(Instant::now)).await },
                    if kill_at.is_some() =>
                {
                    tracing::info!(machine = %self.name, "the guest did not shut down in time");
                    self.kill_at = None;
                    self.life = None;
                }
                () = stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    self.life = None;
                }
            }
        }
        self.end.send_replace(true);
    }

    async fn power_down(&mut self, grace: Duration) {
        let (command, patience) = if grace.is_zero() {
            ("quit", QUIT)
        } else {
            ("system_powerdown", grace)
        };
        self.execute(command, json!({})).await;
        self.kill_at = Some(Instant::now() + patience);
    }

    async fn execute(&mut self, command: &str, arguments: serde_json::Value) {
        if let Some(qmp) = &mut self.qmp
            && let Err(error) = qmp.execute(command, arguments).await
        {
            tracing::debug!(machine = %self.name, command, %error, "qemu does not listen");
        }
    }

    /// Makes the picture that is served of the one that qemu wrote.
    async fn take_screen(&self) {
        let screen = self.screen.clone();
        let taken = tokio::task::spawn_blocking(move || {
            let file = screen.with_extension("ppm");
            let picture = bmp::from_ppm(&std::fs::read(&file)?).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "qemu's picture is none")
            })?;
            crate::state::write_atomically(&screen, &picture, false)?;
            std::fs::remove_file(&file)
        });
        match taken.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(machine = %self.name, %error, "no picture"),
            Err(error) => tracing::warn!(machine = %self.name, %error, "no picture"),
        }
    }
}
