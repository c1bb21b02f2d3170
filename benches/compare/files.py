"""The files that are uploaded, the same at every run on one machine."""

import os
import random
import shutil
import subprocess

MIB = 1 << 20
GIB = 1 << 30
PIECE = 4 * MIB

# What fills the file system: files of /usr in the order of their paths until they have this many
# bytes. With what mke2fs writes itself it comes to about 1.3 GiB.
REAL_FILES = 1280 * MIB
SPARSE = "ext4 of 8 GiB, sparse"
FULL = "the same without holes"
DENSE = "2 GiB random"
TEBIBYTE = "1 TiB, 64 MiB of data"
HALF = "512 MiB random"
SMALL = "64 MiB random"

# Bytes of disk that each takes while it is there, and bytes that the server's copy takes at most.
ROOM = {
    # What it is converted into, or from, lies beside it, and both once more where blocks are shared.
    SPARSE: (9 * GIB, 2 * GIB),
    FULL: (11 * GIB, 2 * GIB),
    DENSE: (9 * GIB, 2 * GIB),
    TEBIBYTE: (64 * MIB, 64 * MIB),
    HALF: (GIB // 2, GIB // 2),
    SMALL: (64 * MIB, 192 * MIB),
}


def make(kind, directory):
    """Makes a file and reads it once, so that the page cache treats the first client like the others."""
    path = os.path.join(directory, "disk.raw")
    if kind in (SPARSE, FULL):
        file_system(path, directory)
    if kind == FULL:
        whole = path + ".whole"
        subprocess.run(["cp", "--sparse=never", path, whole], check=True)
        os.replace(whole, path)
    if kind == TEBIBYTE:
        # A MiB in every 16 GiB.
        noise(path, 1 << 40, [(number * 16 * GIB, MIB) for number in range(64)])
    sizes = {DENSE: 2 * GIB, HALF: GIB // 2, SMALL: 64 * MIB}
    if kind in sizes:
        noise(path, sizes[kind], [(0, sizes[kind])])
    warm(path)
    return path


def warm(path):
    """Waits until a file is on the disk, since what is written while a client is measured would be in its way, and
    reads it once."""
    os.sync()
    for offset, length in extents(path):
        for _ in read(path, offset, length):
            pass


def file_system(path, directory):
    root = os.path.join(directory, "root")
    os.mkdir(root)
    count = 0
    for place, folders, names in os.walk("/usr"):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(place, name)
            if os.path.islink(file) or not os.path.isfile(file):
                continue
            count += os.path.getsize(file)
            if count > REAL_FILES:
                break
            to = root + file
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(file, to)
        if count > REAL_FILES:
            break
    else:
        raise SystemExit(f"error: /usr has less than {REAL_FILES // MIB} MiB of files")
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, path, "8G"]
    # It says that it makes the file, however quiet it is to be.
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)


def noise(path, size, pieces):
    """Random bytes in these places, zeros elsewhere."""
    source = random.Random(20261126)
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, length in pieces:
            file.seek(offset)
            for start in range(0, length, PIECE):
                file.write(source.randbytes(min(PIECE, length - start)))


def extents(path):
    """(offset, length) of what the file system says is no hole."""
    with open(path, "rb") as file:
        end = 0
        size = os.fstat(file.fileno()).st_size
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                # ENXIO: nothing but a hole until the end.
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, end - start


def read(path, offset, length):
    with open(path, "rb") as file:
        file.seek(offset)
        while length > 0:
            piece = file.read(min(PIECE, length))
            if not piece:
                return
            length -= len(piece)
            yield piece


def stored(path):
    """Bytes that are in no hole."""
    return sum(length for _, length in extents(path))


def difference(source, target, length, footer):
    """Why the target is not the source, byte for byte, with this length in all, or None.

    Where one of them has data both are read: what is a hole in one and not in the other has to be
    zero."""
    size = os.path.getsize(source)
    if os.path.getsize(target) != length:
        return f"it has {os.path.getsize(target)} bytes and not {length}"
    if footer and next(read(target, length - 512, 8)) != b"conectix":
        return "it has no footer"
    for path in (source, target):
        for offset, length in extents(path):
            length = min(length, size - offset)
            pairs = zip(read(source, offset, length), read(target, offset, length), strict=True)
            for number, (ours, theirs) in enumerate(pairs):
                if ours != theirs:
                    return f"it differs in the 4 MiB from {offset + number * PIECE} on"
    return None
