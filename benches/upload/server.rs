//! The local Azure in a process of its own, and how it is asked for disks.
//!
//! The process is this program with another argument. It reads the length of a disk, a line, and
//! answers with the disk's access URL; the disk before is deleted. It ends with its standard input.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use azure_nixos::arm::compute::Disk;
use azure_nixos::arm::{Client, ResourceGroup};
use azure_nixos::azure::{Cloud, Transport};
use azure_nixos::{Azure, SasUrl};
use azure_nixos_emulator::Emulator;

use crate::Result;

/// The argument that makes this program the server.
pub(crate) const WORD: &str = "serve-local-azure";
const GROUP: &str = "bench";
const NAME: &str = "disk";

pub(crate) struct Server {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take();
        let from = child.stdout.take().ok_or("the server has no output")?;
        Ok(Self {
            child,
            to,
            from: BufReader::new(from),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new, empty disk of this length, footer included.
    pub(crate) fn disk(&mut self, length: u64) -> Result<SasUrl> {
        let to = self.to.as_mut().ok_or("the server has no input")?;
        writeln!(to, "{length}")?;
        to.flush()?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        match line.trim().strip_prefix("failed: ") {
            Some(error) => Err(error.into()),
            None => Ok(SasUrl::parse(&line)?),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.to.take());
        // Its directory is removed next.
        let _ = self.child.wait();
    }
}

/// What the process does.
pub(crate) async fn serve(directory: &Path) -> Result<()> {
    let emulator = Emulator::builder().state_dir(directory).start().await?;
    let transport = Transport::builder()
        .ca_certificates(emulator.ca_pem().as_bytes())?
        .build()?;
    let azure = Azure::builder()
        .cloud(Cloud::custom(emulator.arm_url(), &transport).await?)
        .transport(transport)
        .access_token(emulator.access_token())
        .subscription(emulator.subscription_id())
        .build()
        .await?;
    let client = Client::new(&azure)?;
    let mut group = ResourceGroup::default();
    group.location = "westus2".to_owned();
    client.create_resource_group(GROUP, &group).await?;
    loop {
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let line = line.await??;
        if line.is_empty() {
            break;
        }
        match disk(&client, line.trim().parse()?).await {
            Ok(sas) => println!("{}", sas.expose()),
            Err(error) => println!("failed: {}", error.to_string().replace('\n', " ")),
        }
    }
    emulator.stop().await;
    Ok(())
}

async fn disk(client: &Client, length: u64) -> azure_nixos::Result<SasUrl> {
    if client.disk(GROUP, NAME).await?.is_some() {
        // A disk without a footer is refused here, and its access is over all the same.
        let _ = client.end_disk_access(GROUP, NAME).await;
        client.delete_disk(GROUP, NAME).await?.wait().await?;
    }
    let disk = Disk::for_upload("westus2", "Standard_LRS", length);
    client.create_disk(GROUP, NAME, &disk).await?.wait().await?;
    client
        .begin_disk_access(GROUP, NAME, Duration::from_secs(3600))
        .await
}
