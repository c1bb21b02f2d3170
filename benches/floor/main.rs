//! The bare client against a URL: what it takes to post a file that is in memory already.
//!
//! `floor FILE URL` reads the file, cuts it into ranges of 4 MiB, leaves those out that are zero, sums
//! them up, and only then starts the clock. It prints seconds, seconds of processor time, and bytes
//! as one JSON object. The blob has to be there.

#![allow(clippy::print_stdout, reason = "the numbers are the result")]

#[path = "../upload/floor.rs"]
mod floor;

use std::fs::File;
use std::io::Read as _;
use std::time::Instant;

use azure_nixos::SasUrl;
use bytes::Bytes;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const LONGEST_RANGE: u64 = 4 << 20;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, url] = arguments.as_slice() else {
        return Err("use: floor FILE URL".into());
    };
    let file = File::open(file)?;
    let sas = SasUrl::parse(url)?;
    let (puts, bytes) = tokio::task::spawn_blocking(move || {
        let ranges = read(&file)?;
        let bytes: usize = ranges.iter().map(|(_, range)| range.len()).sum();
        Ok::<_, std::io::Error>((floor::ranges(&ranges), bytes))
    })
    .await??;
    let client = floor::client()?;
    let (used, began) = (cpu()?, Instant::now());
    floor::put_all(&client, &sas, &puts).await?;
    println!(
        "{{\"seconds\": {}, \"cpu\": {}, \"bytes\": {bytes}}}",
        began.elapsed().as_secs_f64(),
        cpu()? - used
    );
    Ok(())
}

/// The ranges that are not zero, with where they are.
fn read(mut file: &File) -> std::io::Result<Vec<(u64, Bytes)>> {
    let mut ranges = Vec::new();
    let mut offset = 0;
    loop {
        let mut range = Vec::new();
        let count = file.by_ref().take(LONGEST_RANGE).read_to_end(&mut range)? as u64;
        if count == 0 {
            return Ok(ranges);
        }
        if range.iter().any(|&byte| byte != 0) {
            ranges.push((offset, range.into()));
        }
        offset += count;
    }
}

/// Seconds of processor time of this process: user and system, the 14th and 15th field. Linux counts
/// hundredths of a second here.
fn cpu() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').ok_or("/proc has another form")?;
    let mut sum = 0.0;
    for field in fields.split_whitespace().skip(11).take(2) {
        sum += field.parse::<f64>()?;
    }
    Ok(sum / 100.0)
}
