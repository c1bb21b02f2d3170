//! A directory with a home, a local Azure and files of its own, and the program run in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// No command of these tests takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct Place {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        Self { directory }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The program with no environment but what it needs, in this directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_azure-nixos"));
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("USER", "ada")
            .env("TMPDIR", std::env::temp_dir())
            .env("AZURE_NIXOS_LOCAL_DIR", self.path("azure"));
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.start(arguments).finish()
    }

    /// The same on a local Azure.
    pub(crate) fn local(&self, arguments: &[&str]) -> Done {
        self.run(&[&["--local"], arguments].concat())
    }

    /// Runs what must succeed.
    pub(crate) fn good(&self, arguments: &[&str]) -> Done {
        let done = self.run(arguments);
        assert_eq!(done.code(), Some(0), "{arguments:?}: {done:#?}");
        done
    }

    /// What the local Azure remembers; null before it was used.
    pub(crate) fn state(&self) -> Value {
        fs::read(self.path("azure/state.json"))
            .map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
    }

    /// The content of an image in the local Azure.
    pub(crate) fn image(&self, group: &str, name: &str) -> PathBuf {
        self.path(&format!("azure/images/{group}/{name}.vhd"))
    }

    /// Where it is noted of uploads what has arrived.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        files(&self.path("home/.local/state/azure-nixos/uploads"))
    }

    /// Everything that a command can leave behind: groups, resources, disks, images, keys.
    pub(crate) fn traces(&self) -> BTreeMap<String, Value> {
        let mut traces = BTreeMap::new();
        let state = self.state();
        for part in ["groups", "resources"] {
            for (name, what) in state[part].as_object().into_iter().flatten() {
                traces.insert(format!("{part} {name}"), what.clone());
            }
        }
        for part in ["azure/disks", "azure/images", "home/.ssh"] {
            for file in files(&self.path(part)) {
                let length = fs::metadata(&file).unwrap().len();
                traces.insert(file.display().to_string(), length.into());
            }
        }
        traces
    }
}

/// All files below a directory; none when there is no such directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

impl Done {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The one line of JSON on standard output.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A command that runs; it is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: Collected::of(child.stdout.take().unwrap()),
            stderr: Collected::of(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Waits until standard error has this text in it.
    pub(crate) fn until_it_says(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.stderr.text().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                (ended.is_none() || self.stderr.text().contains(text)) && Instant::now() < deadline,
                "waiting for {text:?}, ended: {ended:?}: {}",
                self.stderr.text()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the first line on standard output.
    pub(crate) fn first_line(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((line, _)) = self.stdout.text().split_once('\n') {
                return line.to_owned();
            }
            assert!(
                self.child.try_wait().unwrap().is_none() && Instant::now() < deadline,
                "{}",
                self.stderr.text()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn finish(mut self) -> Done {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("it does not end: {}", self.stderr.text());
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        Done {
            status,
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes out of a pipe, as it comes.
struct Collected {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

/// Another program, which must succeed.
pub(crate) fn other(program: impl AsRef<OsStr>, arguments: &[&dyn AsRef<OsStr>]) -> String {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
