//! Sizes in bytes that cannot be mistaken for another number.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// A number of bytes.
///
/// Text forms use binary units: `20 MiB`, `1.5 GiB`, `4T`. A bare number is bytes.
///
/// ```
/// use azure_nixos::ByteSize;
///
/// let size: ByteSize = "1.5 GiB".parse()?;
/// assert_eq!(size, ByteSize::mib(1536));
/// assert_eq!(size.to_string(), "1.5 GiB");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many mebibytes (1,048,576 bytes), at most [`u64::MAX`] bytes.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// So many gibibytes (1,073,741,824 bytes), at most [`u64::MAX`] bytes.
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Self(gib.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whole gibibytes, rounded up: the unit in which Azure states and bills disk sizes.
    #[must_use]
    pub const fn as_gib_rounded_up(self) -> u64 {
        self.0.div_ceil(1 << 30)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, bytes) in UNITS {
            if self.0 >= bytes {
                // Three significant decimals are enough for a person; exact sizes print exactly.
                #[allow(clippy::cast_precision_loss, reason = "the text is rounded anyway")]
                let value = self.0 as f64 / bytes as f64;
                let text = format!("{value:.2}");
                let text = text.trim_end_matches('0').trim_end_matches('.');
                return write!(f, "{text} {unit}");
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            Error::new(ErrorKind::InvalidInput, format!("{text:?} is not a size"))
                .with_hint("write bytes, or a number with KiB, MiB, GiB or TiB: 512 MiB, 1.5G")
        };
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" | "bytes" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1u64 << 40,
            _ => return Err(refuse()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(refuse);
        }
        let value: f64 = number.parse().map_err(|_| refuse())?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "a factor is a power of two below 2^53"
        )]
        let bytes = value * factor as f64;
        // 2^63 is beyond every disk, and below it the conversion is defined.
        if !(0.0..9.2e18).contains(&bytes) {
            return Err(refuse());
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked on the line above"
        )]
        Ok(Self(bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_people_type() {
        for (text, bytes) in [
            ("512", 512),
            ("4k", 4096),
            ("20 MiB", 20 << 20),
            ("1.5G", 3 << 29),
            ("4tib", 4 << 40),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().as_u64(), bytes, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_size() {
        for text in ["", "x", "-1", "1 parsec", "99999999T", "1.2.3", "1e3"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_short() {
        assert_eq!(ByteSize::bytes(512).to_string(), "512 bytes");
        assert_eq!(ByteSize::mib(8).to_string(), "8 MiB");
        assert_eq!(ByteSize::bytes((8 << 20) + 512).to_string(), "8 MiB");
        assert_eq!(ByteSize::gib(1536).to_string(), "1.5 TiB");
    }
}
