//! Pictures: the machine's screen as qemu writes it (PPM), and as Azure serves it (BMP).

/// Larger screens than this are not a picture but a mistake.
const LARGEST_SIDE: usize = 8192;

/// Makes a BMP of 24 bits of a binary PPM of 8 bits; `None` where it is none.
pub(super) fn from_ppm(ppm: &[u8]) -> Option<Vec<u8>> {
    let (words, pixels) = header(ppm)?;
    let [b"P6", width, height, b"255"] = words else {
        return None;
    };
    let number = |word: &[u8]| {
        std::str::from_utf8(word)
            .ok()?
            .parse()
            .ok()
            .filter(|side| (1..=LARGEST_SIDE).contains(side))
    };
    let (width, height): (usize, usize) = (number(width)?, number(height)?);
    let pixels = pixels.get(..width * height * 3)?;
    let row = (width * 3).next_multiple_of(4);
    let (head, size) = (54, row * height);
    let mut bmp = Vec::with_capacity(head + size);
    bmp.extend(b"BM");
    for field in [(head + size) as u32, 0, head as u32, 40] {
        bmp.extend(field.to_le_bytes());
    }
    // Planes, bits, no compression, and 72 dots an inch in dots a metre.
    bmp.extend((width as u32).to_le_bytes());
    bmp.extend((height as u32).to_le_bytes());
    bmp.extend([1, 0, 24, 0]);
    for field in [0, size as u32, 2835, 2835, 0, 0_u32] {
        bmp.extend(field.to_le_bytes());
    }
    // From the bottom up, blue first.
    for line in pixels.chunks_exact(width * 3).rev() {
        let begun = bmp.len();
        for pixel in line.chunks_exact(3) {
            bmp.extend([pixel[2], pixel[1], pixel[0]]);
        }
        bmp.resize(begun + row, 0);
    }
    Some(bmp)
}

/// The four words of the header, and what is behind it.
fn header(ppm: &[u8]) -> Option<([&[u8]; 4], &[u8])> {
    let mut words = [&[][..]; 4];
    let mut rest = ppm;
    for word in &mut words {
        let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        rest = &rest[start..];
        let end = rest.iter().position(u8::is_ascii_whitespace)?;
        (*word, rest) = rest.split_at(end);
    }
    Some((words, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_keep_their_place_and_colour() {
        // Red, green; blue, white.
        let ppm = b"P6\n2 2\n255\n\xff\0\0\0\xff\0\0\0\xff\xff\xff\xff";
        let bmp = from_ppm(ppm).unwrap();
        assert_eq!(bmp.len(), 54 + 16);
        assert_eq!(bmp[2..6], 70_u32.to_le_bytes());
        assert_eq!(bmp[10], 54);
        // The lower line is first, each pixel blue, green, red, each line of eight bytes.
        assert_eq!(
            bmp[54..],
            [255, 0, 0, 255, 255, 255, 0, 0, 0, 0, 255, 0, 255, 0, 0, 0]
        );
    }

    #[test]
    fn what_is_no_picture_is_none() {
        for ppm in [
            &b""[..],
            b"P6\n2 2\n255\n",
            b"P5\n1 1\n255\nabc",
            b"P6\n9999 9999\n255\n",
            b"P6 1 1 65535 abcdef",
        ] {
            assert_eq!(from_ppm(ppm), None);
        }
    }
}
