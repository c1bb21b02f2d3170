//! The test for zeros: what is zero is neither sent nor hashed nor summed up.

/// Bytes looked at between two decisions: enough for the widest vector registers to stay busy,
/// few enough to stop early at the first data.
const BLOCK: usize = 256;

/// Whether every byte is zero. An empty slice is.
///
/// ```
/// use azure_nixos::disk::is_zero;
///
/// assert!(is_zero(&[0; 4096]));
/// assert!(!is_zero(b"data"));
/// ```
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    blocks.iter().all(|block| {
        let (words, _) = block.as_chunks::<8>();
        words
            .iter()
            .fold(0, |all, word| all | u64::from_ne_bytes(*word))
            == 0
    }) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_seen_at_every_length_and_alignment() {
        let mut bytes = vec![0u8; 2 * BLOCK + 17];
        for start in [0, 1, 7] {
            for end in [start, start + 1, BLOCK, BLOCK + 1, bytes.len()] {
                assert!(is_zero(&bytes[start..end]));
                for at in start..end {
                    bytes[at] = 1 << (at % 8);
                    assert!(!is_zero(&bytes[start..end]), "{start}..{end} at {at}");
                    assert!(is_zero(&bytes[start..at]) && is_zero(&bytes[at + 1..end]));
                    bytes[at] = 0;
                }
            }
        }
    }
}
