"""Conversions of a raw disk into a fixed VHD, beside qemu-img."""

import os
import subprocess

from clients import US, Run, Running, target_length
from files import FULL, difference, warm

# By itself qemu-img leaves what it wrote in the page cache; we wait for the disk. What is like ours is the
# second. The third is the least that a copy into a file on this disk takes.
QEMU, QEMU_KEPT, COPY = "qemu-img", "qemu-img, sync", "cp, sync"
CLIENTS = [US, QEMU, QEMU_KEPT, COPY]
WHERE = "into a VHD"
# Where nobody has to wait for a disk, so that ours and qemu-img do the same.
IN_MEMORY = "into a VHD on tmpfs"
# Where two files can have the same blocks.
SHARING = "into a VHD on Btrfs"
ALL = [WHERE, IN_MEMORY, SHARING]

HOW = ["-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on"]


def command(client, path, target):
    match client:
        case "azure-nixos":
            return [os.environ["COMPARE_AZURE_NIXOS"], "convert", path, target, "--progress", "none"]
        case "qemu-img":
            return ["qemu-img", "convert", *HOW, path, target]
        case "qemu-img, sync":
            return ["sh", "-c", 'qemu-img convert "$@" && shift 6 && sync "$2"', "sh", *HOW, path, target]
        case "cp, sync":
            return ["sh", "-c", 'cp --sparse=auto "$1" "$2" && sync "$2"', "sh", path, target]
    raise AssertionError(client)


def places(kind, path):
    """Where to convert to: what it is called, the disk there, a directory, and who takes part."""
    scratch = os.path.dirname(path)
    yield WHERE, path, scratch, CLIENTS
    memory = os.environ.get("COMPARE_MEMORY")
    if memory:
        yield IN_MEMORY, path, memory, [US, QEMU]
    sharing = os.environ.get("COMPARE_SHARING")
    # The one without holes would need 8 GiB more, and shows nothing else.
    if sharing and kind != FULL:
        beside = os.path.join(sharing, "disk.raw")
        subprocess.run(["cp", "--sparse=always", path, beside], check=True)
        warm(beside)
        yield SHARING, beside, sharing, CLIENTS
        os.remove(beside)


def measure(client, kind, place, scratch, limit):
    where, path, directory, _ = place
    target = os.path.join(directory, "converted.vhd")
    # What others wrote before would be in its way.
    os.sync()
    run = Run(client, kind, where)
    running = Running(command(client, path, target), scratch, "convert")
    if not running.ends_within(limit):
        run.limit = limit
        running.kill()
    run.wall, run.cpu, run.memory, code = running.wait()
    if run.limit is None:
        if code != 0:
            run.failure = f"exit code {code}: {running.text(running.err)}"
        else:
            vhd = client != COPY
            length = target_length(os.path.getsize(path)) if vhd else os.path.getsize(path)
            run.failure = difference(path, target, length, footer=vhd)
    if os.path.exists(target):
        os.remove(target)
    return run
