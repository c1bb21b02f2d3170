//! What a file is, by its content, and what is wrong with it.
//!
//! Names and extensions decide nothing. Whatever is not recognised is raw. Damage is told apart
//! here and nowhere else, so that the refusal of [`DiskImage::open`](super::DiskImage::open) and
//! the report of [`inspect`](super::inspect()) say the same.

use super::buried;
use super::fault::{Fault, ONLY_FIXED, damaged as damaged_header, parent_called};
use super::file::ImageFile;
use super::finding::{Finding, FindingKind, Severity};
use super::format::{Format, MARKED};
use super::limits::{FOOTER, SECTOR};
use super::mend;
use super::options::OpenOptions;
#[cfg(feature = "qcow2")]
use super::qcow2;
use super::raw;
#[cfg(feature = "qcow2")]
use super::read_at::be64;
use super::stream;
use super::vhd::{DiskType, Footer, FooterDefect, dynamic};
use super::vhdx;
use super::watch::Watch;
use crate::Result;

/// What Azure answers to a bad footer: not before all data was sent, when access ends.
const INVALID_VHD: &str = "InvalidVhd, after the whole upload: the footer is validated last";

/// What is known about a file.
#[derive(Debug)]
pub(super) struct Detection {
    pub(super) format: Format,
    /// Bytes of the disk, where the format says so at a fixed place.
    pub(super) virtual_size: Option<u64>,
    /// The footer, right or wrong, and where it is.
    pub(super) footer: Option<(u64, Footer)>,
    /// What the headers of a format with a block table say, when nothing is wrong with them.
    pub(super) layout: Option<Layout>,
    pub(super) findings: Vec<Finding>,
}

/// Where the content of the disk is, where it is not simply the file: by a block table, mended or packed.
#[derive(Debug)]
pub(super) enum Layout {
    Mended(mend::Layout),
    Stream(Box<stream::Layout>),
    DynamicVhd(dynamic::Layout),
    Vhdx(Box<vhdx::Layout>),
    #[cfg(feature = "qcow2")]
    Qcow2(Box<qcow2::Layout>),
}

impl Layout {
    /// Whether images of this kind are read over others.
    pub(super) fn can_have_backing(&self) -> bool {
        match self {
            Self::Mended(_) | Self::Stream(_) | Self::DynamicVhd(_) | Self::Vhdx(_) => false,
            #[cfg(feature = "qcow2")]
            Self::Qcow2(_) => true,
        }
    }

    /// Bytes of the disk.
    fn size(&self) -> u64 {
        match self {
            Self::Mended(layout) => layout.size,
            Self::Stream(layout) => layout.size,
            Self::DynamicVhd(layout) => layout.size,
            Self::Vhdx(layout) => layout.size,
            #[cfg(feature = "qcow2")]
            Self::Qcow2(layout) => layout.size,
        }
    }
}

impl Detection {
    fn new(format: Format, virtual_size: Option<u64>) -> Self {
        Self {
            format,
            virtual_size,
            footer: None,
            layout: None,
            findings: Vec::new(),
        }
    }

    /// What was found out about the layout, or what is wrong with it.
    fn with_layout(self, read: Result<Layout, Fault>) -> Result<Self> {
        match read {
            Ok(layout) => Ok(Self {
                virtual_size: Some(layout.size()),
                layout: Some(layout),
                ..self
            }),
            Err(Fault::Found(finding)) => Ok(self.with(*finding)),
            Err(Fault::Failed(error)) => Err(error),
        }
    }

    fn with(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    fn with_footer(mut self, offset: u64, footer: Footer) -> Self {
        self.footer = Some((offset, footer));
        self
    }
}

/// Looks at the beginning and the end of a file, and at the tables of a format that has some.
pub(super) fn detect(file: &ImageFile, options: &OpenOptions, watch: &Watch) -> Result<Detection> {
    let mut found = by_content(file, options, watch)?;
    if let (Some(wanted), Some(size)) = (options.virtual_size, found.virtual_size)
        && wanted.as_u64() != size
    {
        found = found.with(Finding::problem(
            FindingKind::UnexpectedSize,
            format!(
                "the disk in {} has {size} bytes, and {} are expected of it",
                file.path().display(),
                wanted.as_u64()
            ),
            "build or fetch the image again, or say its right size",
        ));
    }
    Ok(match misleading_name(file, found.format) {
        Some(finding) => found.with(finding),
        None => found,
    })
}

fn by_content(file: &ImageFile, options: &OpenOptions, watch: &Watch) -> Result<Detection> {
    let head = head(file)?;
    let last = last_sector(file)?;
    // A footer at the end wins over whatever the content begins with.
    if let Some((offset, bytes)) = last
        && bytes.starts_with(&Footer::COOKIE)
        && file.length().is_multiple_of(SECTOR)
    {
        return with_footer(file, &head, offset, &bytes, options.repair);
    }
    if head.starts_with(&Footer::COOKIE) {
        return Ok(vhd_without_end(file, &head));
    }
    if let Some(format) = Format::by_magic(&head) {
        return match format {
            Format::Vhdx => {
                let layout = vhdx::Layout::read(file).and_then(|layout| {
                    layout.check(file)?;
                    Ok(Layout::Vhdx(Box::new(layout)))
                });
                Detection::new(format, None).with_layout(layout)
            }
            #[cfg(feature = "qcow2")]
            Format::Qcow2 => qcow2(file, &head, options),
            _ if stream::is_built_in(format) => stream(file, format, options, watch),
            _ => Ok(Detection::new(format, None).with(unsupported(file, format))),
        };
    }
    without_footer(file, options.repair)
}

fn stream(
    file: &ImageFile,
    format: Format,
    options: &OpenOptions,
    watch: &Watch,
) -> Result<Detection> {
    let found = Detection::new(format, None);
    match stream::read(file, format, options, watch) {
        Ok(mut layout) => {
            let mut found = found;
            found.findings.append(&mut layout.notes);
            if let Some(footer) = layout.footer {
                found = found.with_footer(layout.size, footer);
            }
            found.with_layout(Ok(Layout::Stream(Box::new(layout))))
        }
        Err(fault) => found.with_layout(Err(fault)),
    }
}

#[cfg(feature = "qcow2")]
fn qcow2(file: &ImageFile, head: &[u8], options: &OpenOptions) -> Result<Detection> {
    // What the header says, even if the rest of it is wrong.
    let size = Some(be64(head, 24)).filter(|size| *size > 0);
    let found = Detection::new(Format::Qcow2, size);
    let layout = qcow2::Layout::read(file).and_then(|layout| {
        layout.check(file)?;
        Ok(layout)
    });
    let layout = match layout {
        Ok(layout) => layout,
        Err(fault) => return found.with_layout(Err(fault)),
    };
    let note = layout.notes(file);
    let refusal = if options.backing_files.is_empty() {
        layout.needs_backing(file)
    } else {
        None
    };
    let found = match refusal {
        Some(refusal) => found.with(refusal),
        None => found.with_layout(Ok(Layout::Qcow2(Box::new(layout))))?,
    };
    Ok(match note {
        Some(note) => found.with(note),
        None => found,
    })
}

/// As much of the beginning as formats are told by, if there is so much.
fn head(file: &ImageFile) -> Result<Vec<u8>> {
    let mut head = vec![0; (MARKED as u64).min(file.length()) as usize];
    file.read_exact_at(&mut head, 0)?;
    Ok(head)
}

/// The last whole sector that begins on a sector, and its offset.
fn last_sector(file: &ImageFile) -> Result<Option<(u64, [u8; 512])>> {
    let Some(offset) = (file.length() / SECTOR).checked_sub(1) else {
        return Ok(None);
    };
    let mut bytes = [0; 512];
    file.read_exact_at(&mut bytes, offset * SECTOR)?;
    Ok(Some((offset * SECTOR, bytes)))
}

fn unsupported(file: &ImageFile, format: Format) -> Finding {
    let name = file.path().display();
    let what = if matches!(format, Format::Gzip | Format::Xz | Format::Zstd) {
        format!(
            "{name} is compressed with {format}, and this program was built without the feature `{format}`"
        )
    } else if format == Format::Qcow2 {
        format!(
            "{name} is a {format} image, and this program was built without the feature `qcow2`"
        )
    } else {
        format!("{name} is {}, which is not read", format.noun())
    };
    let remedy = format.remedy(file.path());
    Finding::problem(FindingKind::UnsupportedFormat, what, remedy).azure(ONLY_FIXED)
}

/// The extension is of another format. It changes nothing, but whoever gave the name may have
/// meant another file. A raw image named `.vhd` has a finding of its own.
fn misleading_name(file: &ImageFile, format: Format) -> Option<Finding> {
    let extension = file.path().extension()?.to_str()?.to_ascii_lowercase();
    let fits = match extension.as_str() {
        "vhd" => matches!(
            format,
            Format::Raw | Format::FixedVhd | Format::DynamicVhd | Format::DifferencingVhd
        ),
        "raw" => format == Format::Raw,
        "vhdx" => format == Format::Vhdx,
        "qcow2" => format == Format::Qcow2,
        "vmdk" => format == Format::Vmdk,
        "vdi" => format == Format::Vdi,
        _ => true,
    };
    if fits {
        return None;
    }
    Some(Finding::new(
        Severity::Note,
        FindingKind::MisleadingName,
        format!(
            "{} is named .{extension}, but is {}",
            file.path().display(),
            format.noun()
        ),
        "it is read as what it is; names decide nothing",
    ))
}

fn with_footer(
    file: &ImageFile,
    head: &[u8],
    offset: u64,
    bytes: &[u8; 512],
    repair: bool,
) -> Result<Detection> {
    let name = file.path().display();
    let footer = match Footer::parse(bytes) {
        Ok(footer) => footer,
        Err(defect) => {
            let footer = Footer::unchecked(bytes);
            let format = match footer.disk_type() {
                DiskType::Dynamic => Format::DynamicVhd,
                DiskType::Differencing => Format::DifferencingVhd,
                DiskType::Fixed | DiskType::Other(_) => Format::FixedVhd,
            };
            let size = (format == Format::FixedVhd).then_some(offset);
            let mut finding = damaged(file, &defect, offset);
            // Its own words about the size are right, so nothing is missing but a right footer.
            let whole = format == Format::FixedVhd
                && matches!(defect, FooterDefect::Checksum { .. })
                && footer.current_size() == offset
                && is_plain(head);
            if whole && repair {
                finding.severity = Severity::Warning;
                finding.remedy = format!(
                    "repaired on the way: the {offset} bytes before it are the disk, and get a new footer; \
                     the file stays as it is"
                );
                return Detection::new(format, size)
                    .with_footer(offset, footer)
                    .with(finding)
                    .with_layout(Ok(Layout::Mended(mend::Layout::before(offset))));
            }
            if whole {
                finding
                    .remedy
                    .push_str("; or let that be done on the way: --repair");
            }
            if format != Format::FixedVhd {
                // What lies before the footer of such a disk is no raw image.
                finding.remedy = if head_footer(head).is_some() {
                    format!(
                        "build or fetch the image again; the copy of the footer at the beginning of \
                         the file is right, and qemu-img goes by that, for you to judge the result: {}",
                        format.conversion(file.path())
                    )
                } else {
                    "build or fetch the image again".to_owned()
                };
            }
            return Ok(Detection::new(format, size)
                .with_footer(offset, footer)
                .with(finding));
        }
    };
    if offset == 0 {
        return Ok(Detection::new(Format::FixedVhd, None)
            .with_footer(offset, footer)
            .with(Finding::problem(
                FindingKind::Truncated,
                format!("{name} is a VHD footer and nothing else"),
                "build or fetch the image again",
            )));
    }
    let found =
        |format| Detection::new(format, Some(footer.current_size())).with_footer(offset, footer);
    match footer.disk_type() {
        DiskType::Dynamic => {
            let mut found = found(Format::DynamicVhd);
            if let Some(finding) = copy_of_footer(file, head, offset, &footer) {
                found = found.with(finding);
            }
            let layout = dynamic::Layout::read(file, offset, &footer).and_then(|layout| {
                layout.check(file)?;
                Ok(Layout::DynamicVhd(layout))
            });
            found.with_layout(layout)
        }
        DiskType::Differencing => Ok(found(Format::DifferencingVhd)
            .with(needs_parent(file, parent_name(file, &footer)?.as_deref()))),
        DiskType::Fixed | DiskType::Other(_) => {
            let inner = if head.starts_with(&Footer::COOKIE) {
                Some(Format::DynamicVhd)
            } else {
                Format::by_magic(head).filter(|format| format.is_disk())
            };
            let mut found = found(Format::FixedVhd);
            if let Some(inner) = inner {
                found = found.with(
                    Finding::problem(
                        FindingKind::WrappedFormat,
                        format!(
                            "{name} says that it is a fixed VHD, but its content begins like a {inner} image"
                        ),
                        format!(
                            "a converter was told the wrong format; make it again from the \
                             original image, as in {}",
                            inner.conversion(file.path())
                        ),
                    )
                    .azure("nothing: the disk would be taken, and no machine could boot from it"),
                );
            }
            if let Err(defect) = footer.check_fixed(offset) {
                found = found.with(damaged(file, &defect, offset));
            }
            Ok(found)
        }
    }
}

fn damaged(file: &ImageFile, defect: &FooterDefect, offset: u64) -> Finding {
    let name = file.path().display();
    let cut = format!(
        "to use the {offset} bytes before the footer as they are, cut the footer off a copy of the \
         file: `truncate -s {offset} COPY`; a new one is made for a file without one"
    );
    let (kind, remedy) = match defect {
        FooterDefect::Size { stored, content } if content < stored => (
            FindingKind::Truncated,
            format!(
                "{} bytes of the disk are missing: build or fetch the image again",
                stored - content
            ),
        ),
        FooterDefect::SavedState => (
            FindingKind::DamagedFooter,
            format!("shut the machine down and export its disk again; {cut}"),
        ),
        _ => (
            FindingKind::DamagedFooter,
            format!("build or fetch the image again; {cut}"),
        ),
    };
    Finding::problem(kind, format!("the VHD footer of {name} {defect}"), remedy).azure(INVALID_VHD)
}

fn needs_parent(file: &ImageFile, parent: Option<&str>) -> Finding {
    Finding::problem(
        FindingKind::NeedsParent,
        format!(
            "{} is a differencing VHD: it holds only what differs from {}",
            file.path().display(),
            parent_called(parent)
        ),
        "merge it into its parent (Merge-VHD, or the tool that made it) and use the result",
    )
    .azure(ONLY_FIXED)
}

/// Whether the content does not begin like another disk format.
fn is_plain(head: &[u8]) -> bool {
    !head.starts_with(&Footer::COOKIE) && !Format::by_magic(head).is_some_and(Format::is_disk)
}

/// The footer at the beginning of the file, if there is a right one.
fn head_footer(head: &[u8]) -> Option<Footer> {
    Footer::parse(head.first_chunk()?).ok()
}

/// What is wrong with the copy of a dynamic disk's footer at the beginning of the file.
fn copy_of_footer(file: &ImageFile, head: &[u8], offset: u64, footer: &Footer) -> Option<Finding> {
    let name = file.path().display();
    let Some(copy) = head_footer(head) else {
        return Some(Finding::warning(
            FindingKind::DamagedFooter,
            format!("the copy of the footer at the beginning of {name} is damaged"),
            "the footer at the end is right and is gone by; if the file was written to since, build \
             or fetch it again",
        ));
    };
    let what = |footer: &Footer| {
        (
            footer.disk_type(),
            footer.current_size(),
            footer.data_offset(),
        )
    };
    let ((kind, size, header), (own_kind, own_size, own_header)) = (what(&copy), what(footer));
    (what(&copy) != what(footer)).then(|| {
        damaged_header(format!(
            "the two footers of {name} contradict each other: at byte 0 it is {kind}, has {size} bytes \
             and its header at byte {header}; at byte {offset} it is {own_kind}, has {own_size} bytes \
             and its header at byte {own_header}"
        ))
    })
}

/// The parent's file name out of the header of a differencing disk.
fn parent_name(file: &ImageFile, footer: &Footer) -> Result<Option<String>> {
    // The name is 256 UTF-16 units, 64 bytes into the header.
    let mut header = [0; 576];
    let offset = footer.data_offset();
    if offset
        .checked_add(header.len() as u64)
        .is_none_or(|end| end > file.length())
    {
        return Ok(None);
    }
    file.read_exact_at(&mut header, offset)?;
    if !header.starts_with(b"cxsparse") {
        return Ok(None);
    }
    let (units, _) = header[64..].as_chunks::<2>();
    let units: Vec<u16> = units
        .iter()
        .map(|unit| u16::from_be_bytes(*unit))
        .take_while(|&unit| unit != 0)
        .collect();
    Ok((!units.is_empty()).then(|| String::from_utf16_lossy(&units)))
}

/// The file begins like a dynamic VHD and has no footer at its end.
fn vhd_without_end(file: &ImageFile, head: &[u8]) -> Detection {
    let name = file.path().display();
    let footer = head_footer(head);
    let kind = footer.as_ref().map(Footer::disk_type);
    let format = match kind {
        Some(DiskType::Differencing) => Format::DifferencingVhd,
        _ => Format::DynamicVhd,
    };
    let what = match kind {
        Some(DiskType::Fixed) => {
            format!("{name} has the footer of a fixed VHD at its beginning and none at its end")
        }
        _ => format!("{name} begins like a {format}, but there is no footer at its end"),
    };
    let mut found = Detection::new(format, footer.as_ref().map(Footer::current_size));
    found.footer = footer.map(|footer| (0, footer));
    found.with(
        Finding::problem(
            FindingKind::Truncated,
            what,
            "the file was cut off, or something was written behind it: build or fetch it again",
        )
        .azure(INVALID_VHD),
    )
}

/// No footer at the end and no mark at the beginning: raw, unless a footer lies elsewhere.
fn without_footer(file: &ImageFile, repair: bool) -> Result<Detection> {
    let name = file.path().display();
    if let Some(finding) = old_footer(file)? {
        return Ok(Detection::new(Format::FixedVhd, None).with(finding));
    }
    if let Some((offset, footer)) = buried::find(file)? {
        return with_buried_footer(file, offset, footer, repair);
    }
    if let Some(finding) = raw::unaligned(file) {
        return Ok(Detection::new(Format::Raw, None).with(finding));
    }
    let mut found = Detection::new(Format::Raw, Some(file.length()));
    let named_vhd = file
        .path()
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("vhd"));
    if named_vhd {
        let mut finding = Finding::warning(
            FindingKind::MissingFooter,
            format!("{name} is named .vhd, but has no VHD footer"),
            "it is taken as a raw image and a footer is added on the way; if it was cut off, \
             build or fetch it again",
        )
        .azure(INVALID_VHD);
        if repair {
            finding.severity = Severity::Note;
            finding.remedy =
                "repaired on the way: all of it is the disk, and gets a footer; the file \
                              stays as it is"
                    .to_owned();
        }
        found = found.with(finding);
    }
    Ok(found)
}

/// A footer inside the file. What lies behind it is part of the disk, or nobody knows what.
fn with_buried_footer(
    file: &ImageFile,
    offset: u64,
    footer: Footer,
    repair: bool,
) -> Result<Detection> {
    let name = file.path().display();
    let after = file.length() - offset - FOOTER;
    let what = format!(
        "{name} has a VHD footer at byte {offset}, with {after} bytes behind it: the file was \
         enlarged after it was converted"
    );
    let cut = format!(
        "enlarge the raw image before it is converted; or cut a copy of the file off behind its \
         footer: `truncate -s {} COPY`",
        offset + FOOTER
    );
    let found = Detection::new(Format::FixedVhd, Some(offset)).with_footer(offset, footer);
    let problem =
        |what, remedy| Finding::problem(FindingKind::BuriedFooter, what, remedy).azure(INVALID_VHD);
    if !repair {
        let remedy = format!("let it be repaired on the way: --repair; or {cut}");
        return Ok(found.with(problem(what, remedy)));
    }
    let Some(layout) = mend::Layout::around(file, offset)? else {
        let what = format!("{what}, and then written to, so that it cannot be repaired");
        return Ok(found.with(problem(what, cut)));
    };
    let mut finding = problem(what, String::new());
    finding.severity = Severity::Warning;
    finding.remedy = format!(
        "repaired on the way: the disk has all the {} bytes, zeros where that footer is, and a new \
         footer behind them; the file stays as it is",
        layout.size
    );
    found.with(finding).with_layout(Ok(Layout::Mended(layout)))
}

/// Virtual PC before 2004 wrote footers of 511 bytes.
fn old_footer(file: &ImageFile) -> Result<Option<Finding>> {
    let length = file.length();
    if length % SECTOR != SECTOR - 1 || length < SECTOR {
        return Ok(None);
    }
    let mut cookie = [0; 8];
    file.read_exact_at(&mut cookie, length - (SECTOR - 1))?;
    if cookie != Footer::COOKIE {
        return Ok(None);
    }
    Ok(Some(
        Finding::problem(
            FindingKind::OldFooter,
            format!(
                "{} has the 511-byte VHD footer of early Virtual PC versions",
                file.path().display()
            ),
            Format::FixedVhd.remedy(file.path()),
        )
        .azure(INVALID_VHD),
    ))
}
