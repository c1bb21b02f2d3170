//! The uploader beside a bare client that sends the same bytes to the same server.
//!
//! The server is the local Azure in a process of its own. Both clients run in this process with the
//! same runtime; the rounds alternate, so that what else the machine does hits both. What counts is
//! the ratio: absolute numbers are those of the machine and of the local Azure's disk.
//!
//! An argument chooses the cases whose name has it in it.

#![allow(clippy::print_stdout, reason = "the numbers are the result")]

mod cases;
mod floor;
#[path = "../noise.rs"]
mod noise;
mod server;
mod usage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use azure_nixos::VhdUploader;
use azure_nixos::upload::UploadReport;

use cases::Case;
use server::Server;
use usage::Usage;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;
/// What has to be free in memory for the state of the local Azure and the file to be there.
const ROOM: u64 = 2 << 30;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, directory] = arguments.as_slice()
        && word == server::WORD
    {
        return server::serve(Path::new(directory)).await;
    }
    // Cargo itself passes --bench.
    let wanted = arguments.iter().skip(1).find(|word| !word.starts_with('-'));
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| name.contains(wanted.as_str()));
    let place = tempfile::Builder::new()
        .prefix("azure-nixos-bench-")
        .tempdir_in(directory())?;
    println!(
        "state in {}, {ROUNDS} rounds, medians",
        place.path().display()
    );
    let mut server = Server::start(&place.path().join("azure"))?;
    println!(
        "\n{:<44}{:>10}{:>10}{:>8}   CPU seconds per GiB sent   memory",
        "", "uploader", "bare", "ratio"
    );
    println!(
        "{:<44}{:>10}{:>10}{:>8}   {:>8}{:>8}{:>9}{:>8}",
        "", "MiB/s", "MiB/s", "", "uploader", "bare", "server", "MiB"
    );
    for case in cases::all(place.path())? {
        if is_wanted(case.name) {
            compare(&case, &mut server).await?;
        }
    }
    if is_wanted(cases::LARGEST_DISK) {
        largest_disk(&mut server).await;
    }
    Ok(())
}

/// Memory if there is room, so that the disk is not what is measured.
fn directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |at| at.f_bavail * at.f_frsize);
    if free >= ROOM {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

async fn upload(case: &Case, server: &mut Server) -> Result<(UploadReport, Usage, Duration)> {
    let sas = server.disk(case.target_length)?;
    let source = case.source();
    usage::forget_peak();
    let before = Usage::now(server)?;
    let began = Instant::now();
    let report = VhdUploader::from_arc(source, std::sync::Arc::new(sas)).await?;
    Ok((report, Usage::now(server)?.since(&before), began.elapsed()))
}

async fn compare(case: &Case, server: &mut Server) -> Result<()> {
    let ranges = floor::ranges(&case.ranges);
    let sent: u64 = case
        .ranges
        .iter()
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    let client = floor::client()?;
    let mut rounds = Vec::new();
    // The first round warms up.
    for _ in 0..=ROUNDS {
        let sas = server.disk(case.target_length)?;
        let before = Usage::now(server)?;
        let began = Instant::now();
        floor::put_all(&client, &sas, &ranges).await?;
        let (bare, bare_took) = (Usage::now(server)?.since(&before), began.elapsed());

        let (report, uploader, took) = upload(case, server).await?;
        // The footer is one page more.
        if report.bytes_sent != sent + 512 || report.retries > 0 {
            return Err(format!(
                "{}: the uploader sent {} bytes with {} retries, the bare client {sent}",
                case.name, report.bytes_sent, report.retries,
            )
            .into());
        }
        rounds.push((took, bare_took, uploader, bare));
    }
    rounds.remove(0);
    let mib = sent as f64 / f64::from(1 << 20);
    let of = |value: fn(&(Duration, Duration, Usage, Usage)) -> f64| {
        median(rounds.iter().map(value).collect())
    };
    println!(
        "{:<44}{:>10.0}{:>10.0}{:>8.2}   {:>8.2}{:>8.2}{:>9.2}{:>8.0}",
        case.name,
        mib / of(|round| round.0.as_secs_f64()),
        mib / of(|round| round.1.as_secs_f64()),
        of(|round| round.1.as_secs_f64() / round.0.as_secs_f64()),
        of(|round| round.2.client) * 1024.0 / mib,
        of(|round| round.3.client) * 1024.0 / mib,
        of(|round| round.2.server) * 1024.0 / mib,
        of(|round| round.2.grown as f64) / f64::from(1 << 20),
    );
    Ok(())
}

/// Planning, sending and comparing where nearly everything is a hole. A file system that cannot
/// hold a file of 32 TiB, even a sparse one, cannot show it.
async fn largest_disk(server: &mut Server) {
    let measured = async {
        let case = cases::largest_disk()?;
        let mut all = Vec::new();
        for _ in 0..ROUNDS {
            all.push(upload(&case, server).await?.2.as_secs_f64() * 1000.0);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((case.name, median(all)))
    };
    match measured.await {
        Ok((name, milliseconds)) => println!("{name:<44}{milliseconds:>7.0} ms"),
        Err(error) => println!("the largest disk was not measured: {error}"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
