use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

/// A log in memory, which the test changes while it is read.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    log: Option<Vec<u8>>,
    expired: bool,
    renewals: u32,
    gone: bool,
    longest: u64,
}

#[async_trait]
impl Source for Fake {
    async fn read(&mut self, range: Range<u64>) -> Result<Answer> {
        let mut inner = self.0.lock().unwrap();
        inner.longest = inner.longest.max(range.end - range.start);
        if inner.expired {
            return Ok(Answer::Refused {
                code: "AuthenticationFailed".to_owned(),
            });
        }
        let Some(log) = &inner.log else {
            return Ok(Answer::Missing);
        };
        let total = log.len() as u64;
        if range.start >= total {
            return Ok(Answer::Beyond { total: Some(total) });
        }
        let range = range.start as usize..range.end.min(total) as usize;
        Ok(Answer::Part {
            bytes: Bytes::copy_from_slice(&log[range]),
            total,
        })
    }

    async fn renew(&mut self) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.expired = false;
        inner.renewals += 1;
        if inner.gone {
            return Err(Error::new(ErrorKind::NotFound, "there is no machine"));
        }
        Ok(())
    }
}

impl Fake {
    fn set(&self, log: &[u8]) {
        self.0.lock().unwrap().log = Some(log.to_vec());
    }

    fn log(&self, follow: bool, tail: Option<u64>) -> SerialLog {
        SerialLog::of(Box::new(self.clone()), "web".to_owned(), follow, tail)
    }
}

fn bytes(text: &[u8]) -> Option<SerialPart> {
    Some(SerialPart::Bytes(Bytes::copy_from_slice(text)))
}

/// All of a log that is not followed.
async fn all(mut log: SerialLog) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some(part) = log.next().await.unwrap() {
        match part {
            SerialPart::Bytes(bytes) => text.extend_from_slice(&bytes),
            SerialPart::StartedAgain => panic!("it did not start again"),
        }
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_log_is_waited_for_and_followed() {
    let fake = Fake::default();
    assert_eq!(fake.log(false, None).next().await.unwrap(), None);
    let mut log = fake.log(true, None);
    let waiting = tokio::time::timeout(INTERVAL * 5, log.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    fake.set(b"one\n");
    assert_eq!(log.next().await.unwrap(), bytes(b"one\n"));
    // Nothing new is no end.
    let waiting = tokio::time::timeout(INTERVAL * 5, log.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    fake.set(b"one\ntwo\n");
    assert_eq!(log.next().await.unwrap(), bytes(b"two\n"));
    assert_eq!(fake.0.lock().unwrap().renewals, 0);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_cut_or_began_anew_is_told() {
    let fake = Fake::default();
    for (before, after) in [
        (&b"0123456789"[..], &b"012"[..]),
        // As long, and longer.
        (b"0123456789", b"abcdefghij"),
        (b"0123456789", b"56789 and more than before"),
    ] {
        fake.set(before);
        let mut log = fake.log(true, None);
        assert_eq!(log.next().await.unwrap(), bytes(before));
        fake.set(after);
        assert_eq!(log.next().await.unwrap(), Some(SerialPart::StartedAgain));
        assert_eq!(log.next().await.unwrap(), bytes(after));
    }
    let mut log = fake.log(true, None);
    log.next().await.unwrap();
    fake.0.lock().unwrap().log = None;
    assert_eq!(log.next().await.unwrap(), Some(SerialPart::StartedAgain));
}

#[tokio::test(start_paused = true)]
async fn padding_of_the_blob_is_no_text() {
    let fake = Fake::default();
    let padded = |text: &[u8]| {
        let mut log = text.to_vec();
        log.resize(512, 0);
        log
    };
    fake.set(&padded(b"one\n"));
    let mut log = fake.log(true, None);
    assert_eq!(log.next().await.unwrap(), bytes(b"one\n"));
    fake.set(&padded(b"one\ntwo"));
    assert_eq!(log.next().await.unwrap(), bytes(b"two"));
    assert_eq!(all(fake.log(false, Some(1))).await, b"two");
    let mut log = fake.log(true, Some(0));
    let waiting = tokio::time::timeout(INTERVAL * 5, log.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    fake.set(&padded(b"one\ntwo\nthree"));
    assert_eq!(log.next().await.unwrap(), bytes(b"\nthree"));
    fake.set(&[0; 512]);
    assert_eq!(fake.log(false, None).next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_access_that_is_over_is_renewed_once() {
    let fake = Fake::default();
    fake.set(b"text");
    fake.0.lock().unwrap().expired = true;
    assert_eq!(fake.log(false, None).next().await.unwrap(), bytes(b"text"));
    assert_eq!(fake.0.lock().unwrap().renewals, 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_gone_is_not_waited_for() {
    let fake = Fake::default();
    fake.0.lock().unwrap().gone = true;
    let error = fake.log(true, None).next().await.unwrap_err();
    assert!(error.is_not_found());
}

#[tokio::test]
async fn a_large_log_is_read_in_parts_to_where_it_ended() {
    let fake = Fake::default();
    let large: Vec<u8> = (0..(CHUNK * 3 + 77)).map(|n| (n % 251) as u8 + 1).collect();
    fake.set(&large);
    let mut log = fake.log(false, None);
    let mut read = Vec::new();
    while let Some(SerialPart::Bytes(part)) = log.next().await.unwrap() {
        assert!(part.len() as u64 <= CHUNK);
        read.extend_from_slice(&part);
        // What is written while it is read is not waited for.
        let mut longer = large.clone();
        longer.resize(large.len() + read.len(), b'x');
        fake.set(&longer);
    }
    assert!(read == large, "{} of {}", read.len(), large.len());
    let longest = fake.0.lock().unwrap().longest;
    assert!(longest <= CHUNK + OVERLAP as u64, "{longest}");
}

fn last_lines(log: &[u8], lines: usize) -> Vec<u8> {
    let text: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    text[text.len().saturating_sub(lines)..].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against the plain way to do it.
    #[test]
    fn the_tail_is_the_last_lines(
        lines in proptest::collection::vec("[a-z]{0,9}", 0..40),
        ends in any::<bool>(),
        tail in 0_u64..50,
    ) {
        let mut text = lines.join("\n").into_bytes();
        if ends {
            text.push(b'\n');
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fake = Fake::default();
        fake.set(&text);
        let read = runtime.block_on(all(fake.log(false, Some(tail))));
        prop_assert_eq!(
            String::from_utf8(read).unwrap(),
            String::from_utf8(last_lines(&text, tail as usize)).unwrap()
        );
    }
}

#[tokio::test]
async fn the_tail_of_a_long_log_is_found_in_blocks() {
    let fake = Fake::default();
    let line = format!("{}\n", "x".repeat(99));
    let text = line.repeat(BACKWARDS as usize / 50);
    fake.set(text.as_bytes());
    let read = all(fake.log(false, Some(900))).await;
    assert_eq!(read, last_lines(text.as_bytes(), 900));
}
