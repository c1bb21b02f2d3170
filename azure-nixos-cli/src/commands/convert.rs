//! `convert`.

use azure_nixos::ByteSize;
use azure_nixos::disk::{Conversion, DiskImage};
use serde::Serialize;

use crate::args::{Convert, Format, Global};
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, follow};

#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    bytes_logical: u64,
    bytes_written: u64,
    bytes_shared: u64,
    bytes_skipped: u64,
    seconds: f64,
}

pub(crate) async fn convert(
    global: &Global,
    args: Convert,
    console: &Console,
) -> Result<u8, Failure> {
    let open = args.open.options().identity(false);
    let file = args.file;
    let image = tokio::task::spawn_blocking(move || DiskImage::open_with(file, &open))
        .await
        .map_err(|_| Failure::Other("the disk image could not be read".to_owned()))??;
    for note in image.notes() {
        output::warning(&note.what);
    }
    let conversion = Conversion::new(image, args.out).overwrite(args.force);
    let done = follow(conversion.start(), console).await?;
    let shared = match done.bytes_shared {
        0 => String::new(),
        shared => format!(
            " and shares {} with the image, which take no room of their own",
            ByteSize::bytes(shared)
        ),
    };
    console.say(&format!(
        "wrote {} of {}{shared}; the rest is empty",
        ByteSize::bytes(done.bytes_written),
        ByteSize::bytes(done.bytes_logical)
    ));
    let file = done.path.display().to_string();
    match global.output {
        Format::Json => output::json(&Shown {
            file,
            bytes_logical: done.bytes_logical,
            bytes_written: done.bytes_written,
            bytes_shared: done.bytes_shared,
            bytes_skipped: done.bytes_skipped,
            seconds: done.elapsed.as_secs_f64(),
        })?,
        Format::Text => output::result(&file)?,
    }
    Ok(0)
}
