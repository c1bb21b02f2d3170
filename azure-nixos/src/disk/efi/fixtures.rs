//! File systems and boot loaders, written independently of the reader.

/// A program for UEFI: for the processor of this number, `length` bytes long, with this signature at
/// its end.
pub(in crate::disk) fn program(machine: u16, length: usize, signature: &[u8]) -> Vec<u8> {
    let mut file = vec![0x90; length];
    file[..512].fill(0);
    file[..2].copy_from_slice(b"MZ");
    file[60..64].copy_from_slice(&128_u32.to_le_bytes());
    file[128..132].copy_from_slice(b"PE\0\0");
    file[132..134].copy_from_slice(&machine.to_le_bytes());
    // Behind the header of 20 bytes: 64 bits, and 16 directories.
    file[152..154].copy_from_slice(&0x20b_u16.to_le_bytes());
    file[152 + 108..152 + 112].copy_from_slice(&16_u32.to_le_bytes());
    if !signature.is_empty() {
        let at = u32::try_from(length).unwrap();
        let table = 8 + u32::try_from(signature.len()).unwrap();
        file[152 + 144..152 + 148].copy_from_slice(&at.to_le_bytes());
        file[152 + 148..152 + 152].copy_from_slice(&table.to_le_bytes());
        file.extend_from_slice(&table.to_le_bytes());
        file.extend_from_slice(&[0, 2, 2, 0]);
        file.extend_from_slice(signature);
    }
    file
}

/// How wide the entries of a table are, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::disk) enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// A file system of so many clusters of one sector, with these files in `EFI/BOOT`. Chains run
/// backwards.
pub(in crate::disk) fn fat(width: Width, clusters: u32, files: &[(&[u8; 11], &[u8])]) -> Vec<u8> {
    const SECTOR: usize = 512;
    let wide = width == Width::ThirtyTwo;
    let bits = match width {
        Width::Twelve => 12,
        Width::Sixteen => 16,
        Width::ThirtyTwo => 32,
    };
    let table_sectors = ((clusters as usize + 2) * bits).div_ceil(8 * SECTOR);
    let reserved = if wide { 32 } else { 1 };
    let root_sectors = if wide { 0 } else { 4 };
    let data = reserved + 2 * table_sectors + root_sectors;
    let sectors = data + clusters as usize;
    let mut bytes = vec![0; sectors * SECTOR];

    bytes[11..13].copy_from_slice(&512_u16.to_le_bytes());
    bytes[13] = 1;
    bytes[14] = reserved as u8;
    bytes[16] = 2;
    bytes[17..19].copy_from_slice(&(root_sectors as u16 * 16).to_le_bytes());
    bytes[32..36].copy_from_slice(&(sectors as u32).to_le_bytes());
    if wide {
        bytes[36..40].copy_from_slice(&(table_sectors as u32).to_le_bytes());
        bytes[44..48].copy_from_slice(&2_u32.to_le_bytes());
    } else {
        bytes[22..24].copy_from_slice(&(table_sectors as u16).to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);

    // The root, EFI and BOOT have a cluster each; files get theirs from the end.
    let mut table = vec![0_u32; clusters as usize + 2];
    let (root, efi, boot) = (2, 3, 4);
    for directory in [root, efi, boot] {
        table[directory as usize] = u32::MAX;
    }
    let place = |cluster: u32| (data + cluster as usize - 2) * SECTOR;
    let mut entries = vec![entry(b"SYSTEM     ", 0x08, 0, 0)];
    let mut free = clusters + 1;
    for (name, content) in files {
        let mut next = u32::MAX;
        let count = content.len().div_ceil(SECTOR);
        let first = free + 1 - count as u32;
        for (cluster, part) in (first..).zip(content.chunks(SECTOR).rev()) {
            table[cluster as usize] = next;
            next = cluster;
            bytes[place(cluster)..][..part.len()].copy_from_slice(part);
        }
        free = first - 1;
        // Deleted ones come before, and what looks like a long name.
        let mut deleted = entry(name, 0x20, 5, 1);
        deleted[0] = 0xe5;
        entries.extend([deleted, entry(name, 0x0f, 5, 1)]);
        entries.push(entry(name, 0x20, next, content.len() as u32));
    }
    let fill = |bytes: &mut Vec<u8>, at: usize, entries: &[[u8; 32]]| {
        bytes[at..at + entries.len() * 32].copy_from_slice(&entries.concat());
    };
    let top = if wide {
        place(root)
    } else {
        (reserved + 2 * table_sectors) * SECTOR
    };
    fill(&mut bytes, top, &[entry(b"EFI        ", 0x10, efi, 0)]);
    fill(
        &mut bytes,
        place(efi),
        &[entry(b"BOOT       ", 0x10, boot, 0)],
    );
    fill(&mut bytes, place(boot), &entries);

    let start = reserved * SECTOR;
    for (number, value) in table.iter().enumerate() {
        match width {
            Width::Twelve => {
                let at = start + number * 3 / 2;
                let shift = if number % 2 == 0 { 0 } else { 4 };
                let value = (value & 0xfff) << shift;
                bytes[at] |= value as u8;
                bytes[at + 1] |= (value >> 8) as u8;
            }
            Width::Sixteen => {
                bytes[start + number * 2..][..2].copy_from_slice(&(*value as u16).to_le_bytes());
            }
            Width::ThirtyTwo => {
                bytes[start + number * 4..][..4].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
    bytes
}

fn entry(name: &[u8; 11], attributes: u8, first: u32, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    entry[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&size.to_le_bytes());
    entry
}
