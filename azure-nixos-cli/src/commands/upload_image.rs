//! `upload-image`.

use azure_nixos::ImageBuilder;
use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos::vm::ImageReference;
use serde::Serialize;

use super::{Counts, boot_vm, summary};
use crate::args::{Format, Global, UploadImage};
use crate::boot_opts;
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, STOPPED, follow, follow_saying};

#[derive(Debug, Serialize)]
struct Shown {
    image_id: String,
    disk_id: Option<String>,
    location: String,
    generation: &'static str,
    reused: bool,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vm: Option<boot_vm::ShownBoot>,
}

impl Shown {
    fn new(image: &UploadedImage) -> Self {
        Self {
            image_id: image.id.to_string(),
            disk_id: image.disk_id.as_ref().map(ToString::to_string),
            location: image.location.to_string(),
            generation: image.generation.as_str(),
            reused: image.upload.is_none(),
            counts: image.upload.as_ref().into(),
            seconds: image.elapsed.as_secs_f64(),
            warnings: image.warnings.clone(),
            vm: None,
        }
    }
}

pub(crate) async fn upload_image(
    global: &Global,
    args: UploadImage,
    console: &Console,
) -> Result<u8, Failure> {
    let source = args.nix.source(&args.source)?;
    args.open.check(&source)?;
    // A mistake in the options of the machine must show before the image is built.
    let boot = args
        .boot_sh_opts
        .as_deref()
        .map(|text| boot_opts::parse(text, &args.resource_group, "/"))
        .transpose()
        .map_err(Failure::Usage)?
        .map(boot_vm::Boot::new)
        .transpose()?;
    if let Some(boot) = &boot {
        // Not to be learnt after an hour of uploading.
        boot.validate(ImageReference::Name(args.name.clone()))
            .await?;
    }
    // What is wrong with a file needs no login to be told.
    let builder = builder(args, source).prepare();
    let builder = follow_saying(builder, console, STOPPED).await?;
    let connection = Connection::open(global).await?;
    let result = upload(global, builder, boot, &connection, console).await;
    connection.close().await;
    result.map(|()| 0)
}

fn builder(args: UploadImage, source: ImageSource) -> ImageBuilder {
    let mut builder = ImageBuilder::unconnected(args.resource_group, args.name)
        .source(source)
        .nix(args.nix.nix())
        .keep_disk(args.keep_disk)
        .open_options(args.open.options())
        .upload_options(args.transfer.options());
    if let Some(location) = args.location {
        builder = builder.location(location);
    }
    if let Some(generation) = args.generation {
        builder = builder.generation(generation);
    }
    builder
}

async fn upload(
    global: &Global,
    builder: ImageBuilder,
    boot: Option<boot_vm::Boot>,
    connection: &Connection,
    console: &Console,
) -> Result<(), Failure> {
    let builder = builder.connect(&connection.azure);
    let image = follow(builder.start(), console).await?;
    for warning in &image.warnings {
        output::warning(warning);
    }
    console.say(&match &image.upload {
        Some(report) => summary(report),
        None if image.disk_id.is_some() => {
            format!(
                "the image {} is made from the disk of an earlier upload; nothing was sent",
                image.name
            )
        }
        None => format!(
            "the image {} has this content already; nothing was sent",
            image.name
        ),
    });
    let mut shown = Shown::new(&image);
    if global.output == Format::Text {
        output::result(&shown.image_id)?;
    }
    if let Some(boot) = boot {
        let booted = match boot.run(&image, connection, console).await {
            Ok(booted) => booted,
            Err(error) => {
                output::note(&format!("the image {} stays", image.id));
                if global.output == Format::Json {
                    output::json(&shown)?;
                }
                return Err(error);
            }
        };
        booted.announce();
        if global.output == Format::Text {
            for id in booted.ids() {
                output::result(id)?;
            }
        }
        shown.vm = Some(booted.shown());
    }
    if global.output == Format::Json {
        output::json(&shown)?;
    }
    Ok(())
}
