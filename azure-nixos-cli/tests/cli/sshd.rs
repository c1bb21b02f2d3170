//! OpenSSH's server, run by whoever runs the test, with files of its own, at a port of loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::other;

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that ends with the test, however that ends.
pub(crate) struct Sshd {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its host key as one line: `ssh-ed25519 AAAA…`.
    pub(crate) host_key: String,
    /// The same as `ssh-keygen` shows it: `SHA256:… (ED25519)`.
    pub(crate) fingerprint: String,
    log: PathBuf,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sshd {
    /// Lets in whoever has a key of this file, which need not exist yet, as the user of the test.
    pub(crate) fn start(directory: &Path, authorized: &Path) -> Self {
        let host_key = new_host_key(&directory.join("host"));
        let public = directory.join("host.pub");
        let shown = other("ssh-keygen", &[&"-l", &"-f", &public]);
        let shown: Vec<&str> = shown.split_whitespace().collect();
        let fingerprint = format!("{} {}", shown[1], shown[shown.len() - 1]);
        // It does not say which port it took, so one is taken that was free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let (config, log) = (directory.join("sshd_config"), directory.join("sshd.log"));
        let text = format!(
            "ListenAddress {address}\nHostKey \"{}\"\nAuthorizedKeysFile \"{}\"\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\n",
            directory.join("host").display(),
            authorized.display()
        );
        fs::write(&config, text).unwrap();
        // As root it wants a directory that the system makes at boot, where it boots.
        let _ = fs::create_dir_all("/run/sshd");
        let child = Command::new(program())
            .args(["-D", "-e", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            address,
            host_key,
            fingerprint,
            log,
        };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < PATIENCE, "sshd: {}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Makes a pair and returns its public key, without a comment.
pub(crate) fn new_host_key(file: &Path) -> String {
    other(
        "ssh-keygen",
        &[&"-q", &"-t", &"ed25519", &"-N", &"", &"-f", &file],
    );
    let mut public = file.as_os_str().to_owned();
    public.push(".pub");
    let line = fs::read_to_string(public).unwrap();
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    words.join(" ")
}

/// It has to be started by its whole path, since it starts itself again for each connection.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).map(|directory| directory.join("sshd"));
    all.find(|file| file.is_file()).unwrap()
}
