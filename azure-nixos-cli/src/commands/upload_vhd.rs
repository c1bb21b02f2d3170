//! `upload-vhd`.

use azure_nixos::disk::Opening;
use azure_nixos::image::DiskUpload;
use azure_nixos::upload::UploadTarget;
use azure_nixos::{SasUrl, VhdUploader};
use serde::Serialize;

use super::{Counts, summary};
use crate::args::{Format, Global, UploadVhd};
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, STOPPED, follow, follow_saying};

#[derive(Debug, Serialize)]
struct Shown {
    disk_id: Option<String>,
    target: Option<String>,
    reused: bool,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
}

/// Where the bytes go.
enum Target {
    Url(SasUrl, UploadTarget),
    Disk { group: String, name: String },
}

pub(crate) async fn upload_vhd(
    global: &Global,
    args: UploadVhd,
    console: &Console,
) -> Result<u8, Failure> {
    let started = std::time::Instant::now();
    let target = match (&args.sas, args.resource_group, args.name) {
        (Some(sas), ..) => Target::Url(
            SasUrl::parse(sas)?,
            if args.page_blob {
                UploadTarget::PageBlob { create: true }
            } else {
                UploadTarget::ManagedDisk
            },
        ),
        (None, Some(group), Some(name)) => Target::Disk { group, name },
        _ => {
            return Err(Failure::Usage(
                "nothing was said to upload to: pass -g GROUP and -n DISK, or --sas URL".to_owned(),
            ));
        }
    };
    let options = args.transfer.options();
    // A disk is found again by the name of its content, a URL says where it is.
    let is_named = matches!(target, Target::Disk { .. });
    let opening = Opening::new(&args.file).options(args.open.options().identity(is_named));
    let image = follow_saying(opening.start(), console, STOPPED).await?;
    let image = image.image()?;
    for note in image.notes() {
        output::warning(&note.what);
    }
    let mut shown = match target {
        Target::Url(url, target) => {
            let place = url.redacted().to_owned();
            let uploader = VhdUploader::new(image, url).options(options).target(target);
            let report = follow(uploader.start(), console).await.map_err(|error| {
                if error.status() == Some(404) && target == UploadTarget::ManagedDisk {
                    error.with_context(
                        "a page blob that does not exist yet is made with",
                        "--page-blob",
                    )
                } else {
                    error
                }
            })?;
            console.say(&summary(&report));
            if target == UploadTarget::ManagedDisk {
                output::note(
                    "everything is written; end the access to the disk to commit it: az disk revoke-access",
                );
            }
            Shown {
                disk_id: None,
                target: Some(place),
                reused: false,
                counts: Some(&report).into(),
                seconds: 0.0,
            }
        }
        Target::Disk { group, name } => {
            let mut builder =
                DiskUpload::unconnected(group, name.clone(), image).upload_options(options);
            if let Some(location) = args.location {
                builder = builder.location(location);
            }
            if let Some(generation) = args.generation {
                builder = builder.generation(generation);
            }
            builder.validate().await?;
            let connection = Connection::open(global).await?;
            let builder = builder.connect(&connection.azure);
            let result = follow(builder.start(), console).await;
            connection.close().await;
            let disk = result?;
            console.say(&match &disk.upload {
                Some(report) => summary(report),
                None => format!("the disk {name} has this content already; nothing was sent"),
            });
            Shown {
                disk_id: Some(disk.id.to_string()),
                target: None,
                reused: disk.upload.is_none(),
                counts: disk.upload.as_ref().into(),
                seconds: 0.0,
            }
        }
    };
    shown.seconds = started.elapsed().as_secs_f64();
    match global.output {
        Format::Json => output::json(&shown)?,
        Format::Text => {
            output::result(
                shown
                    .disk_id
                    .as_ref()
                    .or(shown.target.as_ref())
                    .map_or("", String::as_str),
            )?;
        }
    }
    Ok(0)
}
