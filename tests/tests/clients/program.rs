//! A program that is not ours, run to its end with an environment that is all the test's.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use azure_nixos_tests::Local;
use tokio::process::Command;

/// What any one run may take; then it is killed. On an idle machine the slowest takes a few seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// A program with its environment. Nothing of the user's is passed on but the PATH.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    variables: Vec<(String, String)>,
    /// Its home, and where what it says is kept: a pipe would have to be read by somebody, and a
    /// killed program's words would be lost.
    place: PathBuf,
    runs: AtomicUsize,
}

/// How a run ended. `Display` shows all of it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit status; -1 for a signal.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        self.status == 0
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ended with {}\n{}{}",
            self.status, self.stdout, self.stderr
        )
    }
}

impl Program {
    /// A program whose home is in the directory of a local Azure.
    pub(crate) fn new(path: PathBuf, local: &Local) -> Self {
        let place = local.place().join("home");
        std::fs::create_dir_all(&place).unwrap();
        let mut program = Self {
            path,
            variables: Vec::new(),
            place,
            runs: AtomicUsize::new(0),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let home = program.place.display().to_string();
        for (name, value) in [
            ("PATH", path.as_str()),
            ("HOME", home.as_str()),
            ("LANG", "C.UTF-8"),
            ("NO_PROXY", "localhost,127.0.0.1"),
        ] {
            program = program.variable(name, value);
        }
        program
    }

    pub(crate) fn variable(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    pub(crate) async fn run<I>(&self, arguments: I) -> Ended
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let name = self.path.file_name().unwrap().to_string_lossy();
        let kept = ["out", "err"].map(|kind| self.place.join(format!("{name}-{number}.{kind}")));
        let [stdout, stderr] = kept
            .each_ref()
            .map(|path| Stdio::from(File::create(path).unwrap()));
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.place)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let status = tokio::time::timeout(LIMIT, child.wait()).await;
        let [stdout, stderr] = kept.map(|path| {
            let said = std::fs::read(path).unwrap();
            String::from_utf8_lossy(&said).into_owned()
        });
        let Ok(status) = status else {
            // Dropped on the way out, it is killed.
            panic!("{command:?} is not done after {LIMIT:?}\n{stdout}{stderr}");
        };
        Ended {
            status: status.unwrap().code().unwrap_or(-1),
            stdout,
            stderr,
        }
    }
}
