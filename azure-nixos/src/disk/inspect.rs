//! Everything that is known about an image before it is uploaded.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::boot::Boot;
use super::detect::{Layout, detect};
use super::efi::{BootLoader, SecureBoot};
use super::file::ImageFile;
use super::finding::{Finding, FindingKind, Severity};
use super::format::Format;
use super::generation::{Architecture, Generations};
use super::image::{self, DiskImage};
use super::limits::{
    MAKE_IT_SMALLER, MAX_DISK, MAX_OS_DISK, MIB, MIN_DISK, SECTOR, padded_size, too_large,
    upload_size,
};
use super::options::OpenOptions;
use super::partition::PartitionTable;
use super::pieces;
use super::raw::RawImage;
use super::source::{DiskSource, checked_extent};
use super::vhd::{Footer, FooterDefect};
use super::watch::Watch;
use super::zero::is_zero;
use crate::{ByteSize, Error, Result};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct InspectOptions {
    /// Read all data to count the zeros in it. Off by default: it takes as long as reading the
    /// file does.
    pub scan_content: bool,
}

impl InspectOptions {
    /// Reads a few sectors only: format, footer, partitions, holes.
    #[must_use]
    pub fn quick() -> Self {
        Self::default()
    }

    /// Reads all data too.
    #[must_use]
    pub fn full() -> Self {
        Self { scan_content: true }
    }
}

/// What is known about a disk image.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The file, as it was named.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Bytes of the file, holes included.
    pub file_size: u64,
    /// What it is, by its content.
    pub format: Format,
    /// What is in it, when it is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Format>,
    /// Bytes of the disk; `None` when the format does not tell without being read.
    pub virtual_size: Option<u64>,
    /// Bytes of the disk on Azure with its footer (`uploadSizeBytes`).
    pub upload_size: Option<u64>,
    /// Whether the disk is a whole number of MiB, so that it keeps its size on Azure.
    pub mib_aligned: Option<bool>,
    /// How a format with a block table holds the disk; `None` for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerReport>,
    /// Where the bytes are; `None` for formats that are not read.
    pub content: Option<ContentReport>,
    /// The VHD footer, right or wrong.
    pub footer: Option<FooterReport>,
    /// The partition table; `None` for formats that are not read.
    pub partitions: Option<PartitionTable>,
    /// The generations that can boot it, as far as is known.
    pub generations: Generations,
    /// The processor it is made for, as far as is known: by what UEFI would start, else by the type of
    /// the root partition.
    pub architecture: Option<Architecture>,
    /// What the firmware of a new machine would start, with UEFI.
    pub loaders: Vec<BootLoader>,
    /// Whether a machine with Secure Boot would start from it; `None` where no loader was found.
    pub secure_boot: Option<SecureBoot>,
    /// What there is to say, the worst first.
    pub findings: Vec<Finding>,
    /// Whether it can be uploaded as it is, or with what is done about it on the way.
    pub uploadable: bool,
}

/// How a format with a block table holds a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ContainerReport {
    /// Bytes of a block, the unit in which space is allocated.
    pub block_size: u64,
    /// The program that made it, as far as the format tells; a VHD tells in its footer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// What else there is to say of the kind of it: `fixed`, `version 3, zstd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl ContainerReport {
    fn new(layout: &Layout) -> Option<Self> {
        Some(match layout {
            Layout::Mended(_) | Layout::Stream(_) => return None,
            Layout::DynamicVhd(layout) => Self {
                block_size: layout.block,
                creator: None,
                variant: None,
            },
            Layout::Vhdx(layout) => Self {
                block_size: layout.block,
                creator: Some(layout.creator.clone()).filter(|creator| !creator.is_empty()),
                variant: Some(if layout.fixed { "fixed" } else { "dynamic" }.to_owned()),
            },
            #[cfg(feature = "qcow2")]
            Layout::Qcow2(layout) => Self {
                block_size: layout.cluster,
                creator: None,
                variant: Some(format!(
                    "version {}, {}",
                    layout.version,
                    layout.packing.as_str()
                )),
            },
        })
    }
}

/// Where the bytes of a disk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ContentReport {
    /// Bytes that are stored, zeros among them.
    pub data: u64,
    /// Bytes in holes.
    pub holes: u64,
    /// Of the stored bytes, those in 512-byte pages of zeros, which are not sent; `None` when the
    /// content was not read.
    pub zeros: Option<u64>,
}

/// What a VHD footer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FooterReport {
    /// Where in the file it begins.
    pub offset: u64,
    /// Four letters of the program that made it.
    pub creator: String,
    /// `fixed`, `dynamic`, `differencing` or `unknown (N)`.
    pub disk_type: String,
    /// Bytes of the disk.
    pub current_size: u64,
    /// Bytes of the disk when it was made.
    pub original_size: u64,
    /// The UUID of the disk.
    pub uuid: String,
    /// When it was made, in seconds since 1970, by its own account.
    pub created: u64,
    /// Whether the checksum fits.
    pub checksum_ok: bool,
    /// What is wrong with it, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defect: Option<String>,
}

impl FooterReport {
    fn new(offset: u64, footer: &Footer) -> Self {
        let defect = Footer::parse(footer.bytes()).err();
        Self {
            offset,
            creator: footer.creator(),
            disk_type: footer.disk_type().to_string(),
            current_size: footer.current_size(),
            original_size: footer.original_size(),
            uuid: footer.uuid(),
            created: footer
                .created()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            checksum_ok: !matches!(defect, Some(FooterDefect::Checksum { .. })),
            defect: defect.map(|defect| defect.to_string()),
        }
    }
}

impl Inspection {
    /// The findings that forbid the upload.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|one| one.is_problem())
    }

    /// Fails with the first problem, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidImage`](crate::ErrorKind::InvalidImage), with what to do as its hint.
    pub fn check(&self) -> Result<()> {
        match self.problems().next() {
            Some(problem) => Err(Error::from(problem.clone())),
            None => Ok(()),
        }
    }
}

/// Looks at a disk image of any format. What is wrong with it is in the report; that it cannot be
/// uploaded is no error.
///
/// ```no_run
/// use azure_nixos::disk::{InspectOptions, inspect};
///
/// let report = inspect("result/nixos.vhd", InspectOptions::quick())?;
/// for finding in &report.findings {
///     println!("{}: {}", finding.what, finding.remedy);
/// }
/// report.check()?;
/// # Ok::<(), azure_nixos::Error>(())
/// ```
///
/// # Errors
/// When the file cannot be opened or read; see [`ImageFile::open`].
pub fn inspect(path: impl AsRef<Path>, options: InspectOptions) -> Result<Inspection> {
    inspect_with(path, options, &OpenOptions::new())
}

/// The same, over the backing files that the caller names.
///
/// # Errors
/// As [`inspect`], and when a backing file cannot be opened, or the image has none and one is
/// named.
pub fn inspect_with(
    path: impl AsRef<Path>,
    options: InspectOptions,
    open: &OpenOptions,
) -> Result<Inspection> {
    // Nobody gets the image, so nobody asks for its name.
    let open = open.clone().identity(false);
    examine(path, options, &open, &Watch::default()).map(|(report, _)| report)
}

/// The same for somebody who waits, and the image, unless it cannot be read: its tables, or all of a
/// compressed one, need not be gone through twice.
pub(super) fn examine(
    path: impl AsRef<Path>,
    options: InspectOptions,
    open: &OpenOptions,
    watch: &Watch,
) -> Result<(Inspection, Option<DiskImage>)> {
    let file = ImageFile::open(path)?;
    let mut found = detect(&file, open, watch)?;
    let footer = found.footer;
    let mut report = Inspection {
        path: file.path().to_owned(),
        file_size: file.length(),
        format: found.format,
        inside: None,
        virtual_size: found.virtual_size,
        upload_size: None,
        mib_aligned: None,
        container: found.layout.as_ref().and_then(ContainerReport::new),
        content: None,
        footer: footer.map(|(offset, footer)| FooterReport::new(offset, &footer)),
        partitions: None,
        generations: Generations::NONE,
        architecture: None,
        loaders: Vec::new(),
        secure_boot: None,
        findings: std::mem::take(&mut found.findings),
        uploadable: false,
    };
    let mut nonzero = None;
    if let Some(Layout::Stream(stream)) = &found.layout {
        report.inside = Some(stream.inside);
        nonzero = Some(stream.nonzero());
    }
    if let Some(size) = report.virtual_size {
        report.judge_size(size);
    }
    let whole = !report.findings.iter().any(Finding::is_problem);
    // Of a damaged fixed VHD, too, the bytes before the footer are worth a look.
    let size = footer.map_or(file.length(), |(offset, _)| offset) / SECTOR * SECTOR;
    let mut image = None;
    if whole {
        let notes = report.findings.clone();
        let opened = image.insert(DiskImage::of(file, found, notes, open)?);
        report.look_inside(&*opened, options, nonzero, watch)?;
    } else if let Some(layout) = found.layout {
        let disk = image::with_layout(file, layout, open)?;
        report.look_inside(disk.as_ref(), options, nonzero, watch)?;
    } else if matches!(found.format, Format::Raw | Format::FixedVhd) && size > 0 {
        report.look_inside(&RawImage::first(file, size), options, None, watch)?;
    }
    report
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.uploadable = !report.findings.iter().any(Finding::is_problem);
    Ok((report, image))
}

impl Inspection {
    fn judge_size(&mut self, size: u64) {
        self.mib_aligned = Some(size.is_multiple_of(MIB));
        if size > MAX_DISK {
            self.findings.push(
                Finding::problem(FindingKind::TooLarge, too_large(size), MAKE_IT_SMALLER)
                    .azure("InvalidParameter: uploadSizeBytes is out of range"),
            );
            return;
        }
        self.upload_size = Some(upload_size(size));
        let padded = padded_size(size);
        if padded != size {
            let what = if size < MIN_DISK {
                format!(
                    "the disk has {}, Azure's smallest has {}",
                    ByteSize::bytes(size),
                    ByteSize::bytes(MIN_DISK)
                )
            } else {
                format!("the disk has {size} bytes, which is not a whole number of MiB")
            };
            self.findings.push(
                Finding::new(
                    Severity::Note,
                    FindingKind::PaddedSize,
                    what,
                    format!(
                        "{} zero bytes are added on the way, which are not sent; the file stays as it is",
                        padded - size
                    ),
                )
                .azure("InvalidParameter: uploadSizeBytes must be 20 MiB or more, whole MiB and 512 bytes"),
            );
        }
        if size > MAX_OS_DISK {
            self.findings.push(
                Finding::warning(
                    FindingKind::TooLargeForOsDisk,
                    format!(
                        "the disk has {} GiB; no machine boots from more than {} GiB",
                        ByteSize::bytes(size).as_gib_rounded_up(),
                        MAX_OS_DISK >> 30
                    ),
                    "as a data disk it is fine",
                )
                .azure("the image is refused when a machine is made from it"),
            );
        }
    }

    /// `nonzero` is what is known of the bytes in pages that are not zero.
    fn look_inside(
        &mut self,
        disk: &dyn DiskSource,
        options: InspectOptions,
        nonzero: Option<u64>,
        watch: &Watch,
    ) -> Result<()> {
        let mut data = 0;
        let mut at = 0;
        while let Some(extent) = checked_extent(disk, at)? {
            data += extent.end - extent.start;
            at = extent.end;
        }
        let nonzero = match nonzero {
            None if options.scan_content => Some(count_nonzero(disk, watch)?),
            known => known,
        };
        let zeros = nonzero.map(|nonzero| data.saturating_sub(nonzero));
        self.content = Some(ContentReport {
            data,
            holes: disk.virtual_size() - data,
            zeros,
        });
        let boot = Boot::read(disk)?;
        self.generations = boot.generations();
        self.architecture = boot.architecture();
        let Boot { mut table, mut efi } = boot;
        self.findings.append(&mut table.findings);
        self.secure_boot = efi.secure_boot(self.architecture);
        self.findings.append(&mut efi.findings);
        self.loaders = efi.loaders;
        if self.architecture == Some(Architecture::Arm64) {
            self.findings.push(
                Finding::warning(
                    FindingKind::Architecture,
                    "the disk is for Arm64",
                    "upload it as a managed disk and boot that (upload-vhd, boot-vm), or make a version of a \
                     gallery's image definition for Arm64 from it",
                )
                .azure("managed images are for x64 only"),
            );
        }
        self.partitions = Some(table);
        Ok(())
    }
}

/// Bytes in 512-byte pages that are not all zeros.
fn count_nonzero<S: DiskSource + ?Sized>(source: &S, watch: &Watch) -> Result<u64> {
    watch.begin(source.virtual_size());
    let mut sum = 0;
    pieces::visit(
        source,
        |number, bytes, _| {
            watch.reached(number * pieces::PIECE as u64)?;
            // Most pieces of zeros are decided in one go.
            if is_zero(bytes) {
                return Ok(0);
            }
            let pages = bytes.chunks(SECTOR as usize);
            let pages = pages.filter(|page| !is_zero(page));
            Ok(pages.map(|page| page.len() as u64).sum::<u64>())
        },
        |_, bytes| sum += bytes,
    )?;
    Ok(sum)
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests;
