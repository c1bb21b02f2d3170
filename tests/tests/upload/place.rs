//! A local Azure with managed disks to upload to, and a disk image for them.

use std::path::PathBuf;
use std::time::Duration;

use azure_nixos::arm::compute::Disk;
use azure_nixos::arm::{Client, ResourceGroup};
use azure_nixos::azure::Transport;
use azure_nixos::disk::{DiskSource as _, MemoryImage};
use azure_nixos::image::DiskAccess;
use azure_nixos::upload::SasSource;
use azure_nixos::{SasUrl, VhdUploader};
use azure_nixos_emulator::EmulatorBuilder;
use azure_nixos_emulator::fault::{FaultRule, Faults};
use azure_nixos_tests::Local;
use azure_nixos_tests::content::{assert_footer, assert_uploaded_bytes, vhd_length};
use azure_nixos_tests::disks::Noise;

pub(crate) const MIB: u64 = 1 << 20;
/// Size of the disk image.
pub(crate) const SIZE: u64 = 24 * MIB;
const GROUP: &str = "disks";
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct Place {
    pub(crate) local: Local,
    pub(crate) client: Client,
    pub(crate) image: MemoryImage,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder) -> Self {
        let local = Local::start_with(settings).await;
        let client = Client::new(&local.azure).unwrap();
        let mut group = ResourceGroup::default();
        group.location = "westus2".to_owned();
        client.create_resource_group(GROUP, &group).await.unwrap();
        Self {
            local,
            client,
            image: image(1),
        }
    }

    pub(crate) fn faults(&self) -> &Faults {
        self.local.emulator.faults()
    }

    /// Makes a disk for a source of the image's size, and what hands out access to it.
    pub(crate) async fn disk(&self, name: &str) -> DiskAccess {
        let bytes = vhd_length(SIZE);
        let disk = Disk::for_upload("westus2", "Standard_LRS", bytes);
        let made = self.client.create_disk(GROUP, name, &disk).await.unwrap();
        made.wait().await.unwrap();
        DiskAccess::new(self.client.clone(), GROUP, name, bytes)
    }

    /// One access, which cannot be renewed.
    pub(crate) async fn sas(&self, name: &str) -> SasUrl {
        let access = self.client.begin_disk_access(GROUP, name, HOUR).await;
        access.unwrap()
    }

    /// An upload of the image, over connections of its own.
    pub(crate) fn upload(&self, access: impl SasSource) -> VhdUploader {
        VhdUploader::new(self.image.clone(), access).transport(self.transport())
    }

    pub(crate) fn transport(&self) -> Transport {
        let authority = self.local.emulator.ca_pem().as_bytes();
        let builder = Transport::builder().ca_certificates(authority).unwrap();
        builder.build().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.local.emulator.disk_file(GROUP, name)
    }

    /// The disk is the image, and Azure takes it as one.
    pub(crate) async fn assert_whole(&self, name: &str) {
        self.assert_holds(name, &self.image).await;
    }

    pub(crate) async fn assert_holds(&self, name: &str, image: &MemoryImage) {
        self.faults().clear();
        let ended = self.client.end_disk_access(GROUP, name).await;
        ended.unwrap_or_else(|error| panic!("{name}: {}", error.report()));
        let mut content = vec![0; SIZE as usize];
        image.read_exact_at(&mut content, 0).unwrap();
        let uploaded = std::fs::read(self.file(name)).unwrap();
        // Byte by byte, that takes a second; this is only to say where they differ.
        if uploaded[..SIZE as usize] != content {
            assert_uploaded_bytes(&content, &uploaded);
        }
        let footer = uploaded[SIZE as usize..].try_into();
        assert_footer(footer.expect("512 bytes"), SIZE);
    }

    /// Nothing there can be taken for a disk: Azure knows it by its footer.
    pub(crate) fn assert_not_done(&self, name: &str) {
        let content = std::fs::read(self.file(name)).unwrap();
        let footer = &content[content.len() - 512..];
        assert!(footer.iter().all(|byte| *byte == 0), "{name} has a footer");
    }
}

/// Twelve runs of noise that follows from a seed, 9 MiB or so.
pub(crate) fn image(seed: u64) -> MemoryImage {
    let mut disk = MemoryImage::new(SIZE).unwrap();
    let mut noise = Noise::new(seed);
    for n in 0..12 {
        let length = MIB / 4 + noise.below(MIB);
        let at = n * 2 * MIB + noise.below(MIB / 2);
        disk.write(at, &noise.bytes(length as usize)).unwrap();
    }
    disk
}

/// A rule for one operation of the service.
pub(crate) fn on(operation: &str) -> FaultRule {
    FaultRule::on(operation.parse().unwrap())
}

/// A seed of its own for every run, to be printed.
pub(crate) fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = since.unwrap().as_nanos() as u64;
    eprintln!("seed {seed}");
    seed
}
