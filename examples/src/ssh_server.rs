//! A real `sshd` on loopback that stands for a machine, so that an example can log into one.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where `sshd` is on most systems; it is on no ordinary user's PATH, and wants to be called by its
/// whole name.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/run/current-system/sw/bin"];

/// An `sshd` that lets in whoever runs this, with keys that are given to it, and ends when it is dropped.
#[derive(Debug)]
pub struct SshServer {
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
    directory: PathBuf,
}

impl SshServer {
    /// Starts one that keeps its files in a directory. What is run there has these variables.
    ///
    /// # Errors
    /// When OpenSSH's server is not installed, or does not start.
    pub fn start(directory: &Path, variables: &[(&str, PathBuf)]) -> io::Result<Self> {
        let mut programs = PLACES.iter().map(|place| Path::new(place).join("sshd"));
        let program = programs.find(|program| program.is_file());
        let program = program.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "there is no sshd: install OpenSSH's server",
            )
        })?;
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(directory.join("host_key"))
            .status()?;
        if !made.success() {
            return Err(io::Error::other("ssh-keygen makes no key"));
        }
        File::create(directory.join("authorized_keys"))?;
        // It does not say which port it took, so one is taken that was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let variables: String = variables
            .iter()
            .map(|(name, value)| format!(" \"{name}={}\"", value.display()))
            .collect();
        let there = directory.display();
        let config = format!(
            "ListenAddress {address}\nHostKey {there}/host_key\nAuthorizedKeysFile {there}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             SetEnv{variables}\n"
        );
        fs::write(directory.join("sshd_config"), config)?;
        // Root's sshd wants a directory that the system makes when it boots.
        let _ = fs::create_dir_all("/run/sshd");
        let process = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(directory.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("sshd.log"))?)
            .spawn()?;
        let mut server = Self {
            address,
            process,
            directory: directory.to_owned(),
        };
        server.wait()?;
        Ok(server)
    }

    /// Lets in who has the private half of the key in a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn authorize(&self, public_key: &Path) -> io::Result<()> {
        fs::copy(public_key, self.directory.join("authorized_keys")).map(drop)
    }

    /// The public half of its own key, as one line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn host_key(&self) -> io::Result<String> {
        fs::read_to_string(self.directory.join("host_key.pub"))
    }

    fn wait(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if self.process.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.directory.join("sshd.log"))?;
                return Err(io::Error::other(format!("sshd does not listen: {log}")));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
