//! The check that Azure makes of an uploaded disk when its write access ends.
//!
//! A disk for upload is a fixed VHD: the disk's bytes, then a footer of 512 bytes. Only the footer
//! is looked at. The texts for the cookie and for a size that is no whole number of MiB are
//! Azure's own; Azure's words for the other faults are not public, those here follow the same
//! pattern and name the field.

/// Size of the footer in bytes.
pub(crate) const FOOTER_LEN: usize = 512;

const MIB: u64 = 1024 * 1024;
const COOKIE: &[u8; 8] = b"conectix";
/// Bit 1 of the features is reserved and always set in a footer that is one.
const FEATURES_RESERVED: u32 = 0x0000_0002;
const FORMAT_VERSION: u32 = 0x0001_0000;
const TYPE_FIXED: u32 = 2;

/// Says what is wrong with the footer of a blob of `length` bytes, in the words of `InvalidVhd`.
///
/// `blob` is what the message calls the blob: its URL, or the path of it. `None` is a footer that
/// Azure takes.
pub(crate) fn footer_problem(footer: &[u8; FOOTER_LEN], length: u64, blob: &str) -> Option<String> {
    let disk = blob.rsplit('/').next().unwrap_or(blob);
    let problem = |what: &str, found: &str, expected: &str| {
        Some(format!(
            "The specified {what} value in VHD footer indicates that disk '{disk}' with blob {blob} \
             is not a supported VHD. {found}Disk is expected to have {what} value {expected}."
        ))
    };
    let be32 = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&footer[at..at + 4]);
        u32::from_be_bytes(bytes)
    };
    let be64 = |at: usize| u64::from(be32(at)) << 32 | u64::from(be32(at + 4));

    if &footer[..8] != COOKIE {
        return problem("cookie", "", "'conectix'");
    }
    let (stored, computed) = (be32(64), checksum(footer));
    if stored != computed {
        return problem(
            "checksum",
            &format!("The footer has '0x{stored:08x}'. "),
            &format!("'0x{computed:08x}'"),
        );
    }
    let features = be32(8);
    if features & FEATURES_RESERVED == 0 {
        return problem(
            "features",
            &format!("The footer has '0x{features:08x}'. "),
            "'0x00000002'",
        );
    }
    let version = be32(12);
    if version != FORMAT_VERSION {
        return problem(
            "file format version",
            &format!("The footer has '0x{version:08x}'. "),
            "'0x00010000'",
        );
    }
    let disk_type = be32(60);
    if disk_type != TYPE_FIXED {
        let name = match disk_type {
            3 => "Dynamic".to_owned(),
            4 => "Differencing".to_owned(),
            other => other.to_string(),
        };
        return problem(
            "disk type",
            &format!("The footer has '{name}'. "),
            "'Fixed'",
        );
    }
    let size = be64(48);
    if !size.is_multiple_of(MIB) {
        return Some(format!(
            "The VHD {blob} has an unsupported virtual size of {size} bytes. The size must be a \
             whole number (in MBs)."
        ));
    }
    let expected = length.saturating_sub(FOOTER_LEN as u64);
    if size != expected {
        return problem(
            "current size",
            &format!("The footer has '{size}'. "),
            &format!("'{expected}'"),
        );
    }
    None
}

/// One's complement of the sum of all bytes, with the checksum's own four taken as zero.
fn checksum(footer: &[u8; FOOTER_LEN]) -> u32 {
    !footer
        .iter()
        .enumerate()
        .filter(|(at, _)| !(64..68).contains(at))
        .map(|(_, byte)| u32::from(*byte))
        .sum::<u32>()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A footer as Hyper-V writes it for a fixed disk of `size` bytes.
    pub(crate) fn fixed_footer(size: u64) -> [u8; FOOTER_LEN] {
        let mut footer = [0; FOOTER_LEN];
        footer[..8].copy_from_slice(COOKIE);
        footer[8..12].copy_from_slice(&2u32.to_be_bytes());
        footer[12..16].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        footer[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
        footer[24..28].copy_from_slice(&700_000_000u32.to_be_bytes());
        footer[28..32].copy_from_slice(b"win ");
        footer[40..48].copy_from_slice(&size.to_be_bytes());
        footer[48..56].copy_from_slice(&size.to_be_bytes());
        footer[60..64].copy_from_slice(&TYPE_FIXED.to_be_bytes());
        footer[68..84].copy_from_slice(&[7; 16]);
        seal(&mut footer);
        footer
    }

    fn seal(footer: &mut [u8; FOOTER_LEN]) {
        let sum = checksum(footer);
        footer[64..68].copy_from_slice(&sum.to_be_bytes());
    }

    const SIZE: u64 = 20 * MIB;
    const URL: &str = "https://md-impexp-x.z48.blob.storage.azure.net:8443/0/abcd";

    fn problem(change: impl FnOnce(&mut [u8; FOOTER_LEN])) -> Option<String> {
        let mut footer = fixed_footer(SIZE);
        change(&mut footer);
        footer_problem(&footer, SIZE + 512, URL)
    }

    #[test]
    fn a_fixed_footer_is_taken() {
        assert_eq!(problem(|_| {}), None);
    }

    #[test]
    fn the_cookie_message_is_the_one_azure_gives() {
        let expected = "The specified cookie value in VHD footer indicates that disk 'abcd' with \
            blob https://md-impexp-x.z48.blob.storage.azure.net:8443/0/abcd is not a supported VHD. \
            Disk is expected to have cookie value 'conectix'.";
        assert_eq!(problem(|f| f.fill(0)).as_deref(), Some(expected));
        assert_eq!(problem(|f| f[0] = b'C').as_deref(), Some(expected));
    }

    #[test]
    fn each_field_is_looked_at() {
        type Change = fn(&mut [u8; FOOTER_LEN]);
        let cases: [(&str, Change); 6] = [
            ("specified checksum value", |f| f[300] = 1),
            ("specified features value", |f| {
                f[11] = 0;
                seal(f);
            }),
            ("specified file format version value", |f| {
                f[13] = 2;
                seal(f);
            }),
            ("The footer has 'Dynamic'", |f| {
                f[63] = 3;
                seal(f);
            }),
            ("unsupported virtual size of 20971521 bytes", |f| {
                f[55] = 1;
                seal(f);
            }),
            ("current size value '20971520'", |f| {
                f[48..56].copy_from_slice(&(SIZE + MIB).to_be_bytes());
                seal(f);
            }),
        ];
        for (part, change) in cases {
            let message = problem(change).unwrap_or_else(|| panic!("taken: {part}"));
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn every_single_bit_of_the_used_fields_counts() {
        // Byte sums see every single flip, so a footer with any bit changed is refused.
        for bit in 0..FOOTER_LEN * 8 {
            assert!(
                problem(|f| f[bit / 8] ^= 1 << (bit % 8)).is_some(),
                "bit {bit}"
            );
        }
    }
}
