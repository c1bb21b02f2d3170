//! Changes to an input that leave it a sequence of pieces.
//!
//! libFuzzer's own changes mostly damage the heads of the pieces, and with them the whole image.

use super::input::Input;

/// Numbers that follow from a seed (SplitMix64).
struct Rng(u64);

impl Rng {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.word() % end.max(1) as u64) as usize
    }
}

/// Changes the input in the first `size` bytes of `data`, and returns its new size, which is at most
/// `most` bytes. `inner` is libFuzzer's own: it changes so many bytes of a buffer to at most so many.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    inner: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut rng = Rng(seed.into());
    let mut input = Input::parse(&data[..size]);
    if input.pieces.is_empty() || rng.below(16) == 0 {
        return inner(data, size, most);
    }
    for _ in 0..=rng.below(3) {
        change(&mut input, &mut rng, &inner);
    }
    let changed = input.encode();
    if changed.len() > most {
        return inner(data, size, most);
    }
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
}

fn change(input: &mut Input, rng: &mut Rng, inner: &impl Fn(&mut [u8], usize, usize) -> usize) {
    let count = input.pieces.len();
    let starts: Vec<u64> = input.pieces.iter().map(|(at, _)| *at).collect();
    let chosen = rng.below(count);
    match rng.below(20) {
        0 => input.flags ^= 1 << rng.below(8),
        // Nearer or farther, by bytes, sectors, pages, MiB.
        1 => {
            let step = 1 << [0, 9, 12, 16, 20][rng.below(5)];
            let at = &mut input.pieces[chosen].0;
            *at = if rng.below(2) == 0 {
                at.saturating_add(step)
            } else {
                at.saturating_sub(step)
            };
        }
        2 => {
            let mut copy = input.pieces[chosen].clone();
            copy.0 = starts[rng.below(count)] + (1 << [0, 3, 9, 12, 16, 20][rng.below(6)]);
            input.pieces.push(copy);
        }
        3 if count > 1 => {
            input.pieces.remove(chosen);
        }
        4 => input.pieces.push((1 << rng.below(40), Vec::new())),
        5..12 => number(input, chosen, &starts, rng),
        _ => {
            let piece = &mut input.pieces[chosen].1;
            let length = piece.len();
            piece.resize(length + 32, 0);
            let new = inner(piece, length, length + 32);
            // What is behind stays where it is, mostly.
            piece.truncate(if rng.below(4) == 0 { new } else { length });
        }
    }
}

/// Writes a number that an image could have at this place, in either order of bytes.
fn number(input: &mut Input, chosen: usize, starts: &[u64], rng: &mut Rng) {
    let end = starts.iter().max().copied().unwrap_or_default();
    let value = match rng.below(6) {
        0 => 1 << rng.below(64),
        1 => (1 << rng.below(64)) - 1,
        2 => starts[rng.below(starts.len())],
        3 => starts[rng.below(starts.len())] >> 9,
        4 => end.wrapping_sub(1 << rng.below(21)),
        _ => rng.word() >> rng.below(64),
    };
    let piece = &mut input.pieces[chosen].1;
    let width = 1 << rng.below(4);
    if piece.len() < width {
        return;
    }
    let at = rng.below(piece.len() - width + 1);
    let at = if rng.below(4) == 0 {
        at
    } else {
        at / width * width
    };
    // With its flags, if it has any above.
    let mut bytes = value.to_le_bytes();
    let old = &mut piece[at..at + width];
    if rng.below(2) == 0 {
        old.copy_from_slice(&bytes[..width]);
    } else {
        bytes.reverse();
        old.copy_from_slice(&bytes[8 - width..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_stays_one_and_becomes_another() {
        let pieces = vec![(0, vec![1; 100]), (1 << 30, vec![2; 7]), (1 << 31, vec![])];
        let input = Input { flags: 5, pieces }.encode();
        let mut different = 0;
        for seed in 0..1000 {
            let mut data = vec![0; 400];
            data[..input.len()].copy_from_slice(&input);
            let flip = |bytes: &mut [u8], size: usize, _: usize| {
                if let Some(byte) = bytes[..size].last_mut() {
                    *byte ^= 1;
                }
                size
            };
            let size = mutate(&mut data, input.len(), 400, seed, flip);
            assert!(size <= 400);
            let again = Input::parse(&data[..size]);
            assert!(again.pieces.len() <= 6, "{again:?}");
            different += u32::from(data[..size] != input);
        }
        assert!(different > 800, "{different}");
    }
}
