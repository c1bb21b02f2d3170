//! OpenSSH's server, run by whoever runs this, with files of its own, at a port of loopback.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where `sshd` is on most systems: an ordinary user's `PATH` does not lead there.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/run/current-system/sw/bin"];

/// A real `sshd` that can stand for machines: see [`EmulatorBuilder::ssh_at`](crate::EmulatorBuilder::ssh_at).
/// It lets in the user that runs it, with the keys that are [given](Self::authorize) to it, and ends when it
/// is dropped.
///
/// ```no_run
/// use azure_nixos_emulator::{Emulator, SshServer};
///
/// # async fn example(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
/// let server = SshServer::start(directory)?;
/// let address = server.address();
/// let azure = Emulator::builder().ssh_at(move |_| Some(address)).start().await?;
/// // … a machine is made, with a key …
/// server.authorize("id_ed25519.pub".as_ref())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SshServer {
    process: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl SshServer {
    /// The program, where it is installed: on `PATH`, or where systems put it.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // By its whole name, since it starts itself again for each connection.
        std::env::split_paths(&path)
            .chain(PLACES.map(PathBuf::from))
            .map(|place| place.join("sshd"))
            .find(|program| program.is_absolute() && program.is_file())
    }

    /// Starts one that keeps its files in this directory, which is made if need be. It blocks until the
    /// server listens, some tens of milliseconds as a rule.
    ///
    /// # Errors
    /// When OpenSSH's server or `ssh-keygen` is not installed, or the server does not start.
    pub fn start(directory: impl AsRef<Path>) -> io::Result<Self> {
        Self::start_with(directory, "")
    }

    /// The same, with more lines of its configuration: `SetEnv "NAME=VALUE"` for one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(directory: impl AsRef<Path>, more: &str) -> io::Result<Self> {
        let directory = std::path::absolute(directory)?;
        let program = Self::program().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "there is no sshd: install OpenSSH's server",
            )
        })?;
        fs::create_dir_all(&directory)?;
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(directory.join("host_key"))
            .stdin(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other("ssh-keygen makes no key"));
        }
        File::create(directory.join("authorized_keys"))?;
        // It does not say which port it took, so one is taken that was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let there = directory.display();
        let config = format!(
            "ListenAddress {address}\nHostKey \"{there}/host_key\"\n\
             AuthorizedKeysFile \"{there}/authorized_keys\"\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n{more}\n"
        );
        let file = directory.join("sshd_config");
        fs::write(&file, config)?;
        // As root it wants a directory that the system makes when it boots.
        let _ = fs::create_dir_all("/run/sshd");
        let process = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("sshd.log"))?)
            .spawn()?;
        let mut server = Self {
            process,
            address,
            directory,
        };
        server.wait()?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets in who has the private half of the key in this file, and nobody else.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn authorize(&self, public_key: &Path) -> io::Result<()> {
        fs::copy(public_key, self.directory.join("authorized_keys")).map(drop)
    }

    /// The file of the public half of its own key.
    #[must_use]
    pub fn host_key_file(&self) -> PathBuf {
        self.directory.join("host_key.pub")
    }

    /// The public half of its own key, as one line without a comment: `ssh-ed25519 AAAA…`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn host_key(&self) -> io::Result<String> {
        let line = fs::read_to_string(self.host_key_file())?;
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        Ok(words.join(" "))
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("sshd.log")).unwrap_or_default()
    }

    fn wait(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if self.process.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                let log = self.log();
                return Err(io::Error::other(format!("sshd does not listen: {log}")));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
