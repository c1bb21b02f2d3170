//! The smallest disks that boot: code of a few bytes that says a line on the console.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

/// What the code prints.
pub(crate) const LINE: &str = "the local Azure boots this";

const SECTOR: usize = 512;

/// The first sector of a disk: 16-bit code that prints `LINE` to the first serial port, then halts
/// for good. The BIOS loads it to 0x7c00 and jumps there.
pub(crate) fn boot_sector() -> Vec<u8> {
    const TEXT_AT: u16 = 0x7c00 + 23;
    let [low, high] = TEXT_AT.to_le_bytes();
    #[rustfmt::skip]
    let mut sector = vec![
        0x31, 0xc0,             // xor ax, ax
        0x8e, 0xd8,             // mov ds, ax
        0xbe, low, high,        // mov si, text
        0xfc,                   // cld
        // next:
        0xac,                   // lodsb
        0x84, 0xc0,             // test al, al
        0x74, 0x06,             // jz done
        0xba, 0xf8, 0x03,       // mov dx, 0x3f8
        0xee,                   // out dx, al
        0xeb, 0xf5,             // jmp next
        // done:
        0xfa,                   // cli
        0xf4,                   // hlt
        0xeb, 0xfd,             // jmp done + 1
    ];
    assert_eq!(sector.len(), 23);
    sector.extend(LINE.bytes());
    sector.extend([b'\r', b'\n', 0]);
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// A FAT12 file system with `\EFI\BOOT\BOOTX64.EFI`, which prints `LINE` to the console.
pub(crate) fn efi_system() -> Vec<u8> {
    // The geometry of a floppy disk of 1.44 MB: one reserved sector, two tables of nine sectors,
    // 224 entries in the root, clusters of one sector.
    const TABLES: usize = 1;
    const ROOT: usize = TABLES + 2 * 9;
    const DATA: usize = ROOT + 224 * 32 / SECTOR;
    let program = efi_program();
    assert_eq!(program.len(), 2 * SECTOR);

    let mut disk = vec![0; 2880 * SECTOR];
    let mut put = |sector: usize, offset: usize, bytes: &[u8]| {
        let at = sector * SECTOR + offset;
        disk[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, 0, &[0xeb, 0x3c, 0x90]);
    put(0, 3, b"MSDOS5.0");
    // Bytes in a sector, sectors in a cluster, reserved, tables, root entries, sectors, medium,
    // sectors in a table, sectors in a track, heads.
    #[rustfmt::skip]
    put(0, 11, &[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0b, 0xf8, 9, 0, 18, 0, 2, 0]);
    put(0, 38, &[0x29, 1, 2, 3, 4]);
    put(0, 43, b"NO NAME    FAT12   ");
    put(0, 510, &[0x55, 0xaa]);
    // Entries of 12 bits: the medium, then clusters 2 and 3 (directories) and 4, which goes on at
    // 5, the end of the program.
    for table in [TABLES, TABLES + 9] {
        put(
            table,
            0,
            &[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0x05, 0xf0, 0xff],
        );
    }
    let entry = |name: &[u8; 11], attributes: u8, cluster: u8, size: u32| {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[26] = cluster;
        entry[28..].copy_from_slice(&size.to_le_bytes());
        entry
    };
    const DIRECTORY: u8 = 0x10;
    put(ROOT, 0, &entry(b"EFI        ", DIRECTORY, 2, 0));
    put(DATA, 0, &entry(b".          ", DIRECTORY, 2, 0));
    put(DATA, 32, &entry(b"..         ", DIRECTORY, 0, 0));
    put(DATA, 64, &entry(b"BOOT       ", DIRECTORY, 3, 0));
    put(DATA + 1, 0, &entry(b".          ", DIRECTORY, 3, 0));
    put(DATA + 1, 32, &entry(b"..         ", DIRECTORY, 2, 0));
    let size = u32::try_from(program.len()).unwrap();
    put(DATA + 1, 64, &entry(b"BOOTX64 EFI", 0x20, 4, size));
    put(DATA + 2, 0, &program);
    disk
}

/// A PE32+ image for UEFI on x86-64: one sector of headers and one of code and text.
fn efi_program() -> Vec<u8> {
    /// Where the section is in memory.
    const CODE: u32 = 0x1000;
    let mut image = vec![0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    // The file: x86-64, one section, an optional header of 240 bytes, executable.
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &1_u16.to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x56, &0x0022_u16.to_le_bytes());
    // The optional header: magic, size of code, entry point, base of code, alignments, sizes.
    let optional = 0x58;
    put(optional, &0x020b_u16.to_le_bytes());
    put(optional + 4, &512_u32.to_le_bytes());
    put(optional + 16, &CODE.to_le_bytes());
    put(optional + 20, &CODE.to_le_bytes());
    put(optional + 32, &0x1000_u32.to_le_bytes());
    put(optional + 36, &512_u32.to_le_bytes());
    put(optional + 56, &0x2000_u32.to_le_bytes());
    put(optional + 60, &512_u32.to_le_bytes());
    // An EFI application, and sixteen directories of nothing.
    put(optional + 68, &10_u16.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    // The section: name, size and place in memory, size and place in the file, what it is.
    let section = optional + 240;
    put(section, b".text");
    put(section + 8, &512_u32.to_le_bytes());
    put(section + 12, &CODE.to_le_bytes());
    put(section + 16, &512_u32.to_le_bytes());
    put(section + 20, &512_u32.to_le_bytes());
    put(section + 36, &0x6000_0020_u32.to_le_bytes());

    #[rustfmt::skip]
    let code = [
        0x48, 0x83, 0xec, 0x28,                     // sub rsp, 40
        0x48, 0x8b, 0x4a, 0x40,                     // mov rcx, [rdx + 64]  ; ConOut
        0x48, 0x8d, 0x15, 0x06, 0x00, 0x00, 0x00,   // lea rdx, [rip + text]
        0xff, 0x51, 0x08,                           // call [rcx + 8]       ; OutputString
        // halt:
        0xf4,                                       // hlt
        0xeb, 0xfd,                                 // jmp halt
    ];
    assert_eq!(code.len(), 15 + 6);
    image.extend(code);
    image.extend(LINE.encode_utf16().flat_map(u16::to_le_bytes));
    image.extend([b'\r', 0, b'\n', 0, 0, 0]);
    image.resize(2 * SECTOR, 0);
    image
}
