//! `inspect`.

use std::fmt::Write as _;

use azure_nixos::ByteSize;
use azure_nixos::disk::{
    self, Finding, InspectOptions, Inspection, Opening, PartitionTable, Severity,
};

use crate::args::{Format, Global, Inspect};
use crate::output;
use crate::progress::Console;
use crate::run::{FAILED, Failure, STOPPED, follow_saying};

pub(crate) async fn inspect(
    global: &Global,
    args: Inspect,
    console: &Console,
) -> Result<u8, Failure> {
    let opening = Opening::new(args.file)
        .options(args.open.options().identity(false))
        .look(InspectOptions::full());
    let opened = follow_saying(opening.start(), console, STOPPED).await?;
    let inspection = opened.inspection();
    match global.output {
        Format::Json => output::json(inspection)?,
        Format::Text => output::result(text(inspection).trim_end())?,
    }
    Ok(if inspection.uploadable { 0 } else { FAILED })
}

/// The report as aligned lines.
fn text(inspection: &Inspection) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<13}{value}");
    };
    row("file", inspection.path.display().to_string());
    row("format", format(inspection));
    row("file size", size(inspection.file_size));
    if let Some(bytes) = inspection.virtual_size {
        row("disk size", size(bytes));
    }
    if let Some(bytes) = inspection.upload_size {
        let aligned = match inspection.mib_aligned {
            Some(false) => "; filled up, since it is no whole number of MiB",
            _ => "",
        };
        row(
            "on Azure",
            format!("{bytes} bytes, footer included{aligned}"),
        );
    }
    if let Some(content) = &inspection.content {
        let zeros = content
            .zeros
            .map(|zeros| format!(", of them {} are zeros", ByteSize::bytes(zeros)))
            .unwrap_or_default();
        row(
            "content",
            format!(
                "{} of data{zeros}; {} of holes",
                ByteSize::bytes(content.data),
                ByteSize::bytes(content.holes)
            ),
        );
    }
    match &inspection.footer {
        Some(footer) => row(
            "footer",
            format!(
                "{} at byte {}, made by {}, for {} bytes, UUID {}, checksum {}",
                footer.disk_type,
                footer.offset,
                footer.creator,
                footer.current_size,
                footer.uuid,
                if footer.checksum_ok { "right" } else { "wrong" }
            ),
        ),
        None => row("footer", "none; one is made on the way".to_owned()),
    }
    let holds = inspection.inside.unwrap_or(inspection.format);
    if inspection.footer.is_some() && holds != disk::Format::FixedVhd {
        row("", "that of a fixed VHD is made on the way".to_owned());
    }
    if let Some(table) = &inspection.partitions {
        partitions(table, &mut row);
    }
    row("generations", inspection.generations.to_string());
    if let Some(architecture) = &inspection.architecture {
        row("architecture", architecture.to_string());
    }
    for loader in &inspection.loaders {
        let bytes = ByteSize::bytes(loader.size);
        row("boot loader", format!("{}, {bytes}", loader.path));
    }
    if let Some(secure_boot) = &inspection.secure_boot {
        row("Secure Boot", secure_boot.to_string());
    }
    for finding in &inspection.findings {
        say(finding, &mut row);
    }
    row(
        "uploadable",
        if inspection.uploadable { "yes" } else { "no" }.to_owned(),
    );
    text
}

/// The format, and what its headers say of its kind.
fn format(inspection: &Inspection) -> String {
    let mut text = inspection.format.to_string();
    if let Some(inside) = inspection.inside {
        let _ = write!(text, ", {inside} inside");
    }
    if let Some(container) = &inspection.container {
        if let Some(variant) = &container.variant {
            let _ = write!(text, ", {variant}");
        }
        let _ = write!(
            text,
            ", blocks of {}",
            ByteSize::bytes(container.block_size)
        );
        if let Some(creator) = &container.creator {
            let _ = write!(text, ", made by {creator}");
        }
    }
    text
}

fn partitions(table: &PartitionTable, row: &mut impl FnMut(&str, String)) {
    row("partitions", table.scheme.to_string());
    for partition in &table.partitions {
        let name = if partition.name.is_empty() {
            String::new()
        } else {
            format!(" {:?}", partition.name)
        };
        row(
            "",
            format!(
                "{}: {}{name}, {} at {}",
                partition.number,
                partition.kind,
                ByteSize::bytes(partition.size),
                ByteSize::bytes(partition.start)
            ),
        );
    }
}

fn say(finding: &Finding, row: &mut impl FnMut(&str, String)) {
    let name = match finding.severity {
        Severity::Problem => "PROBLEM",
        Severity::Warning => "warning",
        _ => "note",
    };
    row(name, finding.what.clone());
    if let Some(azure) = &finding.azure {
        row("", format!("Azure: {azure}"));
    }
    row("", finding.remedy.clone());
}

fn size(bytes: u64) -> String {
    let short = ByteSize::bytes(bytes).to_string();
    if short.ends_with("bytes") {
        short
    } else {
        format!("{short} ({bytes} bytes)")
    }
}
