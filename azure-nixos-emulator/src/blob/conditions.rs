//! Conditional headers. A managed disk is a page blob like any other to them.

use axum::http::{HeaderMap, StatusCode};

use super::dates;
use super::refusal::Refusal;
use super::request::header;

/// The conditions of a request.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    if_match: Option<Vec<String>>,
    if_none_match: Option<Vec<String>>,
    modified_since: Option<u64>,
    unmodified_since: Option<u64>,
    /// The numbers that the blob's own has to be at most, less than, and equal to.
    sequence_number: [Option<u64>; 3],
}

/// The ETag of a version, quotes included.
pub(super) fn etag(version: u64) -> String {
    format!("\"0x{version:X}\"")
}

impl Conditions {
    /// Reads the headers.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, Refusal> {
        if header(headers, "x-ms-if-tags")?.is_some() {
            return Err(Refusal::unsupported_header("x-ms-if-tags"));
        }
        let tags = |name| {
            Ok::<_, Refusal>(header(headers, name)?.map(|text| {
                text.split(',')
                    .map(|tag| tag.trim().trim_start_matches("W/").to_owned())
                    .collect()
            }))
        };
        let date = |name| {
            header(headers, name)?
                .map(|text| {
                    dates::parse_http_date(text).ok_or_else(|| Refusal::invalid_header(name, text))
                })
                .transpose()
        };
        let number = |name| {
            header(headers, name)?
                .map(|text| {
                    text.parse::<u64>()
                        .map_err(|_| Refusal::invalid_header(name, text))
                })
                .transpose()
        };
        Ok(Self {
            if_match: tags("if-match")?,
            if_none_match: tags("if-none-match")?,
            modified_since: date("if-modified-since")?,
            unmodified_since: date("if-unmodified-since")?,
            sequence_number: [
                number("x-ms-if-sequence-number-le")?,
                number("x-ms-if-sequence-number-lt")?,
                number("x-ms-if-sequence-number-eq")?,
            ],
        })
    }

    /// Whether there is a condition on the version of the blob.
    pub(super) fn depends_on_version(&self) -> bool {
        self.if_match.is_some()
            || self.if_none_match.is_some()
            || self.modified_since.is_some()
            || self.unmodified_since.is_some()
    }

    /// Refuses a write whose conditions are not met.
    pub(super) fn check_write(&self, version: u64, sequence_number: u64) -> Result<(), Refusal> {
        let [most, above, equal] = self.sequence_number;
        if most.is_some_and(|most| sequence_number > most)
            || above.is_some_and(|above| sequence_number >= above)
            || equal.is_some_and(|equal| sequence_number != equal)
        {
            return Err(Refusal::new(
                StatusCode::PRECONDITION_FAILED,
                "SequenceNumberConditionNotMet",
                "The sequence number condition specified was not met.",
            ));
        }
        if self.is_changed(version) || self.is_unchanged(version) {
            return Err(Refusal::condition());
        }
        Ok(())
    }

    /// Refuses a read whose conditions are not met; with 304 if the blob is what the client has.
    pub(super) fn check_read(&self, version: u64) -> Result<(), Refusal> {
        if self.is_changed(version) {
            return Err(Refusal::condition());
        }
        if self.is_unchanged(version) {
            return Err(Refusal::new(
                StatusCode::NOT_MODIFIED,
                "ConditionNotMet",
                "The condition specified using HTTP conditional header(s) is not met.",
            ));
        }
        Ok(())
    }

    /// The client wanted it unchanged.
    fn is_changed(&self, version: u64) -> bool {
        let differs = self
            .if_match
            .as_ref()
            .is_some_and(|tags| !matches(tags, version));
        let newer = self
            .unmodified_since
            .is_some_and(|date| dates::whole_second(version) > date);
        differs || newer
    }

    /// Refuses to write over nothing where the client wants it unchanged.
    pub(super) fn check_absent(&self) -> Result<(), Refusal> {
        if self.if_match.is_some() {
            return Err(Refusal::condition());
        }
        Ok(())
    }

    /// Whether the client wants that nothing is there.
    pub(super) fn wants_nothing_there(&self) -> bool {
        self.if_none_match
            .as_ref()
            .is_some_and(|tags| tags.iter().any(|tag| tag == "*"))
    }

    /// The client wanted it changed.
    fn is_unchanged(&self, version: u64) -> bool {
        match &self.if_none_match {
            Some(tags) => matches(tags, version),
            None => self
                .modified_since
                .is_some_and(|date| dates::whole_second(version) <= date),
        }
    }
}

fn matches(tags: &[String], version: u64) -> bool {
    let own = etag(version);
    tags.iter().any(|tag| tag == "*" || *tag == own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn conditions(pairs: &[(&'static str, &str)]) -> Result<Conditions, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        Conditions::parse(&headers)
    }

    #[test]
    fn each_condition_is_honoured() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let version = dates::ticks(time);
        let own = etag(version);
        let other = etag(version + 1);
        let date =
            |seconds: i64| dates::http_date(version.saturating_add_signed(seconds * 10_000_000));
        // Header, value, whether a write passes, whether a read passes.
        for (name, value, write, read) in [
            ("if-match", own.clone(), true, true),
            ("if-match", format!("{other}, {own}"), true, true),
            ("if-match", "*".into(), true, true),
            ("if-match", other.clone(), false, false),
            ("if-none-match", own.clone(), false, false),
            ("if-none-match", "*".into(), false, false),
            ("if-none-match", other, true, true),
            ("if-modified-since", date(0), false, false),
            ("if-modified-since", date(-1), true, true),
            ("if-unmodified-since", date(0), true, true),
            ("if-unmodified-since", date(-1), false, false),
            ("x-ms-if-sequence-number-le", "0".into(), true, true),
            ("x-ms-if-sequence-number-lt", "0".into(), false, true),
            ("x-ms-if-sequence-number-eq", "1".into(), false, true),
        ] {
            let parsed = conditions(&[(name, &value)]).unwrap();
            assert_eq!(
                parsed.check_write(version, 0).is_ok(),
                write,
                "{name} {value}"
            );
            assert_eq!(parsed.check_read(version).is_ok(), read, "{name} {value}");
        }
        for (name, value) in [
            ("if-modified-since", "soon"),
            ("x-ms-if-sequence-number-eq", "x"),
            ("x-ms-if-tags", "a=b"),
        ] {
            conditions(&[(name, value)]).unwrap_err();
        }
    }
}
