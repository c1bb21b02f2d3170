//! A CD with a few small files in its root: what ISO 9660 (ECMA-119) asks for and no more.
//!
//! Names are written in capitals with a version, as the standard wants them. Linux shows them in
//! lower case and without it, so `ovf-env.xml` is found under that name without extensions.

/// Bytes in a sector of a CD.
const SECTOR: usize = 2048;

/// Sectors 0 to 15 are the system's; then two descriptors, two path tables and the root.
const DESCRIPTOR: usize = 16;
const TERMINATOR: usize = 17;
const PATHS_LITTLE: usize = 18;
const PATHS_BIG: usize = 19;
const ROOT: usize = 20;
const CONTENT: usize = 21;

/// Makes an image. The directory has one sector, which is room for some forty files.
pub(super) fn image(label: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; CONTENT * SECTOR];
    let mut root = Vec::new();
    root.extend(record(&[0], ROOT, SECTOR, true));
    // The parent of the root is the root.
    root.extend(record(&[1], ROOT, SECTOR, true));
    let mut sorted: Vec<(String, &[u8])> = files
        .iter()
        .map(|(name, content)| (format!("{};1", name.to_ascii_uppercase()), *content))
        .collect();
    sorted.sort();
    for (name, content) in &sorted {
        let at = image.len() / SECTOR;
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(SECTOR), 0);
        root.extend(record(name.as_bytes(), at, content.len(), false));
    }
    assert!(root.len() <= SECTOR, "too many files for one directory");
    put(&mut image, ROOT, 0, &root);

    // One entry, the root: length of its name, sector, parent, name, padding.
    let mut path = vec![1, 0];
    path.extend((ROOT as u32).to_le_bytes());
    path.extend([1, 0, 0, 0]);
    put(&mut image, PATHS_LITTLE, 0, &path);
    path[2..6].copy_from_slice(&(ROOT as u32).to_be_bytes());
    path[6..8].copy_from_slice(&1_u16.to_be_bytes());
    put(&mut image, PATHS_BIG, 0, &path);

    let sectors = (image.len() / SECTOR) as u32;
    let descriptor = descriptor(label, sectors, path.len() as u32);
    put(&mut image, DESCRIPTOR, 0, &descriptor);
    put(&mut image, TERMINATOR, 0, b"\xffCD001\x01");
    image
}

fn put(image: &mut [u8], sector: usize, offset: usize, bytes: &[u8]) {
    let at = sector * SECTOR + offset;
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A number of four bytes in both orders, as the standard likes it.
fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// The record of a file or directory. All are of 1 January 2000, so that an image is the same
/// whenever it is made.
fn record(name: &[u8], sector: usize, length: usize, is_directory: bool) -> Vec<u8> {
    let mut record = vec![0, 0];
    record.extend(both32(sector as u32));
    record.extend(both32(length as u32));
    record.extend([100, 1, 1, 0, 0, 0, 0]);
    record.push(if is_directory { 2 } else { 0 });
    record.extend([0, 0]);
    record.extend(both16(1));
    record.push(name.len() as u8);
    record.extend_from_slice(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}

/// The primary volume descriptor.
fn descriptor(label: &str, sectors: u32, path_table: u32) -> Vec<u8> {
    let mut sector = vec![0; SECTOR];
    let mut set = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    set(0, b"\x01CD001\x01");
    // The texts are padded with spaces: system, volume, then sets, publishers and file names.
    set(8, &[b' '; 64]);
    set(190, &[b' '; 623]);
    let label = &label.as_bytes()[..label.len().min(32)];
    set(40, label);
    set(80, &both32(sectors));
    set(120, &both16(1));
    set(124, &both16(1));
    set(128, &both16(SECTOR as u16));
    set(132, &both32(path_table));
    set(140, &(PATHS_LITTLE as u32).to_le_bytes());
    set(148, &(PATHS_BIG as u32).to_be_bytes());
    set(156, &record(&[0], ROOT, SECTOR, true));
    for at in [813, 830, 847, 864] {
        set(at, b"2000010100000000\0");
    }
    set(881, &[1]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_leads_to_the_content() {
        let long = vec![7; 5000];
        let image = image("label", &[("ovf-env.xml", b"<a/>"), ("a.bin", &long)]);
        assert_eq!(image.len() % SECTOR, 0);
        assert_eq!(&image[DESCRIPTOR * SECTOR + 1..][..5], b"CD001");
        let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
        // From the descriptor to the root, and from record to record.
        assert_eq!(number(DESCRIPTOR * SECTOR + 80), image.len() / SECTOR);
        let root = number(DESCRIPTOR * SECTOR + 156 + 2) * SECTOR;
        let mut at = root;
        let mut found = Vec::new();
        while image[at] > 0 {
            let name = &image[at + 33..][..usize::from(image[at + 32])];
            let content = &image[number(at + 2) * SECTOR..][..number(at + 10)];
            found.push((name.to_vec(), content.to_vec()));
            at += usize::from(image[at]);
        }
        assert_eq!(found.len(), 4);
        assert_eq!(found[2], (b"A.BIN;1".to_vec(), long));
        assert_eq!(found[3], (b"OVF-ENV.XML;1".to_vec(), b"<a/>".to_vec()));
    }
}
