//! `demo`: the whole way on a local Azure that lasts as long as the command.

mod image;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos::vm::BootedVm;
use azure_nixos::{ByteSize, ImageBuilder, VmBuilder};
use serde::Serialize;

use super::{Counts, boot_vm};
use crate::args::{Demo, Format, Global};
use crate::connect::{Connection, local};
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, follow};

#[derive(Debug, Serialize)]
struct Shown {
    image_id: String,
    generation: &'static str,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
    bytes_compared: u64,
    vm: boot_vm::Shown,
}

pub(crate) async fn demo(global: &Global, args: Demo, console: &Console) -> Result<u8, Failure> {
    let place = tempfile::Builder::new()
        .prefix("azure-nixos-demo-")
        .tempdir()
        .map_err(|error| Failure::Other(format!("cannot make a temporary directory: {error}")))?;
    let given = args.image_file.is_some();
    let file = match args.image_file {
        Some(file) => file,
        None => {
            let file = place.path().join("nixos.raw");
            let path = file.clone();
            blocking(move || image::write(&path)).await?;
            file
        }
    };
    let emulator = local::start(&place.path().join("azure")).await?;
    let connection = Connection::open_local(emulator).await?;
    let result = walk(&file, place.path(), &connection, console).await;
    connection.close().await;
    let (image, vm, compared) = result?;
    print(global, &file, given, &image, &vm, compared)?;
    // A temporary directory that cannot be removed is the system's to clean.
    let _ = place.close();
    Ok(0)
}

async fn walk(
    file: &Path,
    place: &Path,
    connection: &Connection,
    console: &Console,
) -> Result<(UploadedImage, BootedVm, u64), Failure> {
    let azure = &connection.azure;
    let builder =
        ImageBuilder::new(azure, "demo-images", "nixos-demo").source(ImageSource::file(file));
    let image = follow(builder.start(), console).await?;

    let uploaded = connection
        .local()
        .map(|emulator| emulator.image_file(&image.resource_group, &image.name))
        .ok_or_else(|| Failure::Other("the demo runs on a local Azure only".to_owned()))?;
    let original = file.to_owned();
    let compared = blocking(move || compare(&original, &uploaded)).await?;

    let builder = VmBuilder::new(azure, "demo-machines", "demo", &image)
        .admin_username("nixos")
        .key_directory(place.join("keys"));
    let vm = follow(builder.start(), console).await?;
    Ok((image, vm, compared))
}

fn print(
    global: &Global,
    file: &Path,
    given: bool,
    image: &UploadedImage,
    vm: &BootedVm,
    compared: u64,
) -> Result<(), Failure> {
    for warning in image.warnings.iter().chain(&vm.warnings) {
        output::warning(warning);
    }
    let counts = Counts::from(image.upload.as_ref());
    let seconds = image.elapsed.as_secs_f64();
    if global.output == Format::Json {
        return output::json(&Shown {
            image_id: image.id.to_string(),
            generation: image.generation.as_str(),
            counts,
            seconds,
            bytes_compared: compared,
            vm: boot_vm::Shown::new(vm),
        });
    }
    let size = |bytes| ByteSize::bytes(bytes).to_string();
    output::result(&format!(
        "disk image   {}
upload       {} of {} sent in {} requests ({} retries), {} were empty; {:.1} s
integrity    {}; {}
image        {} ({})
compared     {} on the local Azure are those of the file
machine      {}
address      {}
log in       {}

All of this happened on a local Azure that is gone now. The same on Azure, after `az login`:
  azure-nixos upload-image -g images-rg -n nixos-web --image-file {}
  azure-nixos boot-vm -g vms-rg -i nixos-web -n web-1",
        file.display(),
        size(counts.bytes_sent),
        size(counts.bytes_logical),
        counts.requests,
        counts.retries,
        size(counts.bytes_skipped),
        seconds,
        counts.integrity.as_deref().unwrap_or("nothing was sent"),
        counts.verified.as_deref().unwrap_or("nothing was compared"),
        image.id,
        image.generation,
        size(compared),
        vm.id,
        vm.public_ip.as_deref().unwrap_or("none"),
        vm.ssh_command.as_deref().unwrap_or("there is no way in"),
        // An image that was made for this is gone with the rest.
        if given {
            file.display().to_string()
        } else {
            "YOUR.vhd".to_owned()
        },
    ))
}

/// Compares what the local Azure holds with the file, byte by byte, and returns how many there were.
/// Behind the file's own bytes there may only be zeros up to the footer.
fn compare(original: &Path, uploaded: &Path) -> io::Result<u64> {
    const FOOTER: u64 = 512;
    let differ = |at: u64| io::Error::other(format!("the uploaded image differs at byte {at}"));
    let mut original = File::open(original)?;
    let mut uploaded = File::open(uploaded)?;
    let content = uploaded.metadata()?.len().saturating_sub(FOOTER);
    let mut at = 0;
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while at < content {
        let length = usize::try_from((content - at).min(1 << 20)).unwrap_or(1 << 20);
        let got = read_full(&mut original, &mut left[..length])?;
        left[got..length].fill(0);
        uploaded.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Err(differ(at));
        }
        at += length as u64;
    }
    let mut footer = [0; FOOTER as usize];
    uploaded.read_exact(&mut footer)?;
    if !footer.starts_with(b"conectix") {
        return Err(differ(at));
    }
    // What is left of the file is a footer of its own or nothing.
    let rest = original.metadata()?.len().saturating_sub(at);
    if rest > FOOTER {
        return Err(differ(at));
    }
    Ok(at)
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..])? {
            0 => break,
            more => got += more,
        }
    }
    Ok(got)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::Other("the demo stopped by a defect".to_owned()))?
        .map_err(|error| Failure::Other(format!("the demo failed: {error}")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn write(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_comparison_finds_the_difference() {
        let place = tempfile::tempdir().unwrap();
        let mut content = vec![7; 3000];
        let original = write(place.path(), "a", &content);
        content.resize(4096, 0);
        let mut good = content.clone();
        good.extend(b"conectix");
        good.resize(4096 + 512, 1);
        let uploaded = write(place.path(), "b", &good);
        assert_eq!(compare(&original, &uploaded).unwrap(), 4096);
        for at in [0, 2999, 3500, 4096] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let uploaded = write(place.path(), "c", &bad);
            assert!(compare(&original, &uploaded).is_err(), "{at}");
        }
    }
}
