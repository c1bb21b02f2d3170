//! What the examples need besides `azure-nixos`: a local Azure that lives as long as the program, so
//! that no account is needed, and a small disk image to try things with.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use azure_nixos::Azure;
use azure_nixos::azure::{Cloud, Transport};
use azure_nixos_emulator::{Emulator, EmulatorBuilder};
use tempfile::TempDir;

/// What an example's `main` returns.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A local Azure in a temporary directory, and a connection to it.
#[derive(Debug)]
pub struct LocalAzure {
    /// The connection. With an account this is [`Azure::from_environment`].
    pub azure: Azure,
    /// The other side: what it holds, and how it misbehaves when asked to.
    pub emulator: Emulator,
    place: TempDir,
}

impl LocalAzure {
    /// Starts one on two free ports of loopback, and logs in.
    ///
    /// # Errors
    /// When no temporary directory can be made, or the local Azure does not start in it.
    pub async fn start() -> Result<Self> {
        Self::start_with(|settings| settings).await
    }

    /// The same, with settings of one's own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder,
    ) -> Result<Self> {
        let place = tempfile::Builder::new()
            .prefix("azure-nixos-example-")
            .tempdir()?;
        let builder = Emulator::builder().state_dir(place.path().join("azure"));
        let emulator = settings(builder).start().await?;
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
        Ok(Self {
            azure,
            emulator,
            place,
        })
    }

    /// A directory that goes when the local Azure does.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.place.path()
    }

    /// Ends it, and takes its directory away.
    pub async fn stop(self) {
        self.emulator.stop().await;
    }
}

/// Makes `disk.raw` in a directory: 256 MiB with a partition that BIOS would boot, and in it so many
/// MiB of data with as much space between them.
///
/// # Errors
/// When the file cannot be written, or there is one.
pub fn disk_image(directory: &Path, mib_of_data: u8) -> io::Result<PathBuf> {
    const MIB: u64 = 1 << 20;
    let path = directory.join("disk.raw");
    let file = File::create_new(&path)?;
    file.set_len(256 * MIB)?;
    let mut boot_sector = [0; 512];
    // The first entry of the partition table: active, Linux, from the first MiB to the end.
    boot_sector[446] = 0x80;
    boot_sector[450] = 0x83;
    boot_sector[454..458].copy_from_slice(&2048u32.to_le_bytes());
    boot_sector[458..462].copy_from_slice(&(255 * 2048u32).to_le_bytes());
    boot_sector[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&boot_sector, 0)?;
    for number in 0..mib_of_data {
        let data = vec![number | 0x80; MIB as usize];
        file.write_all_at(&data, MIB * (1 + 2 * u64::from(number)))?;
    }
    Ok(path)
}
