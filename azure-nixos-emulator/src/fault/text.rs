//! Fault rules as text, for the command line and for files.

use std::time::Duration;

use super::{FaultAction, FaultRule, Faults, Plane};

const KEYS: &str = "plane, method, path, after, every, times, probability, seed, respond, header, \
                    reset, delay, stall, expire-access";

/// Why a text is no list of fault rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the fault rules: {message}")]
pub struct ParseFaultError {
    line: usize,
    message: String,
}

impl ParseFaultError {
    /// The line concerned, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
}

enum Line {
    Rule(FaultRule),
    Bandwidth(u32),
    Requests(u32),
}

impl Faults {
    /// Adds the rules and limits of a text, one a line: `key=value` pairs with commas between
    /// them. Empty lines and lines that begin with `#` are skipped. Returns how many lines were
    /// taken; a text with a mistake in it changes nothing.
    ///
    /// ```text
    /// # the third to fifth Put Page are refused
    /// plane=blob,method=PUT,path=comp=page,after=2,times=3,respond=503:ServerBusy
    /// plane=arm,path=/disks/,every=10,respond=429:TooManyRequests,header=Retry-After:2
    /// plane=blob,path=comp=page,probability=0.01,seed=7,reset=after
    /// plane=blob,method=PUT,after=100,times=1,expire-access
    /// plane=blob,every=50,delay=250ms
    /// plane=blob,times=1,stall=30s
    /// limit-bandwidth=60
    /// limit-requests=500
    /// ```
    ///
    /// `limit-bandwidth` is in MiB/s, `limit-requests` in requests a second, both for the blob
    /// plane. A value cannot contain a comma.
    ///
    /// # Errors
    /// Names the line and what is wrong with it.
    ///
    /// ```
    /// use azure_nixos_emulator::fault::Faults;
    ///
    /// let faults = Faults::default();
    /// assert_eq!(faults.add_text("plane=blob,every=50,delay=250ms")?, 1);
    /// let error = faults.add_text("plane=blob,delay=250").unwrap_err();
    /// assert!(error.to_string().contains("line 1"));
    /// # Ok::<(), azure_nixos_emulator::fault::ParseFaultError>(())
    /// ```
    pub fn add_text(&self, text: &str) -> Result<usize, ParseFaultError> {
        let mut lines = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            lines.push(parse_line(line).map_err(|message| ParseFaultError {
                line: number,
                message,
            })?);
        }
        let taken = lines.len();
        for line in lines {
            match line {
                Line::Rule(rule) => {
                    self.add(rule);
                }
                Line::Bandwidth(mib) => self.limit_bandwidth(Some(mib)),
                Line::Requests(rate) => self.limit_requests(Some(rate)),
            }
        }
        Ok(taken)
    }
}

fn parse_line(line: &str) -> Result<Line, String> {
    if let Some(value) = line.strip_prefix("limit-bandwidth=") {
        return positive("limit-bandwidth", value).map(Line::Bandwidth);
    }
    if let Some(value) = line.strip_prefix("limit-requests=") {
        return positive("limit-requests", value).map(Line::Requests);
    }
    let mut rule: Option<FaultRule> = None;
    let mut probability = None;
    let mut seed = None;
    let mut headers = Vec::new();
    for (index, pair) in line.split(',').map(str::trim).enumerate() {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => (pair, ""),
        };
        if index == 0 {
            if key != "plane" {
                return Err(format!(
                    "a rule begins with plane=arm or plane=blob, this one with `{pair}`"
                ));
            }
            rule = Some(FaultRule::new(match value {
                "arm" => Plane::Arm,
                "blob" => Plane::Blob,
                other => return Err(format!("plane is arm or blob, not `{other}`")),
            }));
            continue;
        }
        let Some(current) = rule.take() else {
            return Err("a rule begins with plane=arm or plane=blob".to_owned());
        };
        rule = Some(match key {
            "method" => current.method(not_empty(key, value)?),
            "path" => current.path_contains(not_empty(key, value)?),
            "after" => current.after(number(key, value)?),
            "every" => current.every(positive(key, value)?.into()),
            "times" => current.times(number(key, value)?),
            "probability" => {
                let parsed = value.parse::<f64>().ok();
                probability = parsed.filter(|p| (0.0..=1.0).contains(p));
                if probability.is_none() {
                    return Err(format!(
                        "probability is a number from 0 to 1, not `{value}`"
                    ));
                }
                current
            }
            "seed" => {
                seed = Some(number(key, value)?);
                current
            }
            "header" => {
                let (name, text) = value
                    .split_once(':')
                    .ok_or_else(|| format!("header is NAME:VALUE, not `{value}`"))?;
                headers.push((name.trim().to_owned(), text.trim().to_owned()));
                current
            }
            "respond" => {
                let (status, code) = value.split_once(':').unwrap_or((value, ""));
                let status = status.parse::<u16>().ok();
                match status.filter(|status| (400..600).contains(status)) {
                    Some(status) if !code.is_empty() => act(current, |r| r.respond(status, code))?,
                    _ => {
                        return Err(format!(
                            "respond is STATUS:CODE with a status from 400 to 599, such as \
                             503:ServerBusy, not `{value}`"
                        ));
                    }
                }
            }
            "reset" => match value {
                "before" => act(current, FaultRule::reset_before)?,
                "after" => act(current, FaultRule::reset_after)?,
                other => return Err(format!("reset is before or after, not `{other}`")),
            },
            "delay" => {
                let time = duration(key, value)?;
                act(current, |r| r.delay(time))?
            }
            "stall" => {
                let time = duration(key, value)?;
                act(current, |r| r.stall(time))?
            }
            "expire-access" if value.is_empty() => {
                if current.plane != Plane::Blob {
                    return Err("expire-access is for plane=blob".to_owned());
                }
                act(current, FaultRule::expire_access)?
            }
            _ => return Err(format!("`{pair}` is not known; the keys are {KEYS}")),
        });
    }
    let mut rule = rule.ok_or("the rule is empty")?;
    if rule.action == FaultAction::None {
        return Err(
            "the rule says nothing to do: add respond, reset, delay, stall or expire-access"
                .to_owned(),
        );
    }
    match (probability, seed) {
        (Some(probability), seed) => rule = rule.probability(probability, seed.unwrap_or(0)),
        (None, Some(_)) => return Err("seed needs a probability".to_owned()),
        (None, None) => {}
    }
    if !headers.is_empty() {
        if !matches!(rule.action, FaultAction::Respond { .. }) {
            return Err("header needs respond".to_owned());
        }
        for (name, value) in headers {
            rule = rule.header(&name, &value);
        }
    }
    Ok(Line::Rule(rule))
}

fn act(rule: FaultRule, set: impl FnOnce(FaultRule) -> FaultRule) -> Result<FaultRule, String> {
    if rule.action == FaultAction::None {
        Ok(set(rule))
    } else {
        Err("a rule has one action; this one has two".to_owned())
    }
}

fn not_empty<'a>(key: &str, value: &'a str) -> Result<&'a str, String> {
    if value.is_empty() {
        Err(format!("{key} has no value"))
    } else {
        Ok(value)
    }
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    value
        .parse()
        .map_err(|_| format!("{key} is a whole number, not `{value}`"))
}

fn positive(key: &str, value: &str) -> Result<u32, String> {
    match value.trim().parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{key} is a whole number above 0, not `{value}`")),
    }
}

fn duration(key: &str, value: &str) -> Result<Duration, String> {
    let split = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (digits, unit) = value.split_at(split);
    let per_unit = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    digits
        .parse::<u64>()
        .ok()
        .zip(per_unit)
        .and_then(|(count, factor)| count.checked_mul(factor))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{key} is a time such as 250ms, 30s or 2m, not `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_taken() {
        let faults = Faults::new();
        let text = "\n# a comment\nplane=blob, method=PUT, path=comp=page, after=2, times=3, respond=503:ServerBusy\n\
            plane=arm,path=/disks/,every=10,respond=429:TooManyRequests,header=Retry-After:2\n\
            plane=blob,probability=0.5,seed=7,reset=after\nplane=blob,reset=before\n\
            plane=blob,expire-access\nplane=blob,delay=250ms\nplane=blob,stall=2m\n\
            limit-bandwidth=60\nlimit-requests=500\n";
        assert_eq!(faults.add_text(text), Ok(9));
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(faults.before(Plane::Blob, "PUT", "/x?comp=page"));
        }
        assert!(
            matches!(&seen[2], FaultAction::Respond { status: 503, code, .. } if code == "ServerBusy"),
            "{seen:?}"
        );
        for _ in 0..9 {
            assert_eq!(
                faults.before(Plane::Arm, "GET", "/disks/d"),
                FaultAction::None
            );
        }
        assert_eq!(
            faults.before(Plane::Arm, "GET", "/disks/d"),
            FaultAction::Respond {
                status: 429,
                code: "TooManyRequests".into(),
                headers: vec![("Retry-After".into(), "2".into())],
            }
        );
    }

    #[test]
    fn a_mistake_is_named_and_changes_nothing() {
        for (line, part) in [
            ("method=PUT,reset=before", "begins with plane"),
            ("plane=disk,reset=before", "not `disk`"),
            ("plane=blob", "nothing to do"),
            ("plane=blob,tims=3,reset=before", "`tims=3` is not known"),
            ("plane=blob,times=x,reset=before", "times is a whole number"),
            ("plane=blob,every=0,reset=before", "above 0"),
            ("plane=blob,probability=2,reset=before", "from 0 to 1"),
            ("plane=blob,seed=2,reset=before", "seed needs"),
            ("plane=blob,reset=later", "before or after"),
            ("plane=blob,respond=503", "STATUS:CODE"),
            ("plane=blob,respond=200:OK", "400 to 599"),
            ("plane=blob,delay=250", "250ms, 30s or 2m"),
            ("plane=blob,delay=1s,reset=after", "this one has two"),
            ("plane=blob,reset=after,header=A:b", "header needs respond"),
            ("plane=blob,respond=503:X,header=A", "NAME:VALUE"),
            ("plane=arm,expire-access", "for plane=blob"),
            ("plane=blob,method=,reset=after", "method has no value"),
            ("limit-bandwidth=0", "above 0"),
            ("limit-requests=many", "above 0"),
        ] {
            let faults = Faults::new();
            let error = faults
                .add_text(&format!("plane=blob,reset=before\n\n{line}"))
                .unwrap_err();
            assert_eq!(error.line(), 3, "{line}");
            assert!(error.to_string().contains(part), "{line}: {error}");
            assert_eq!(
                faults.before(Plane::Blob, "PUT", "/"),
                FaultAction::None,
                "{line}"
            );
        }
    }
}
