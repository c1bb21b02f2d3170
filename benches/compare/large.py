"""What inspect takes for disks that are as large as their format, or this file system, lets them be."""

import os
import subprocess

from clients import US, Run, Running

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
# The largest disk of Azure.
MOST = 32767 * GIB
WHERE = "inspect"
# What it is called, format, options, size.
DISKS = [
    ("VHDX of 32767 GiB", "vhdx", "subformat=dynamic,block_size=32M", MOST),
    ("VHDX of 32767 GiB in blocks of 1 MiB", "vhdx", "subformat=dynamic,block_size=1M", MOST),
    ("qcow2 of 32767 GiB", "qcow2", "cluster_size=65536", MOST),
    ("dynamic VHD of 2040 GiB", "vpc", "subformat=dynamic,force_size=on", 2040 * GIB),
    # Less than the 16 TiB that a file of ext4 can have.
    ("raw, 15 TiB", "raw", None, 15 * TIB),
]
PLACES = 32


def make(directory, kind, format, options, size):
    """A disk with a MiB of data in each of so many places over all of it."""
    path = os.path.join(directory, "large")
    more = ["-o", options] if options else []
    subprocess.run(["qemu-img", "create", "-q", "-f", format, *more, path, str(size)], check=True)
    words = ["qemu-io", "-f", format]
    for number in range(PLACES):
        words += ["-c", f"write -q -P {number + 1} {size // PLACES * number // MIB * MIB} 1M"]
    subprocess.run([*words, path], check=True, stdout=subprocess.DEVNULL)
    return path


def measure(kind, path, scratch, limit):
    run = Run(US, kind, WHERE)
    words = [os.environ["COMPARE_AZURE_NIXOS"], "inspect", path, "-o", "json"]
    running = Running(words, scratch, "inspect")
    if not running.ends_within(limit):
        run.limit = limit
        running.kill()
    run.wall, run.cpu, run.memory, code = running.wait()
    if run.limit is None and (code != 0 or not running.said()):
        run.failure = f"exit code {code}: {running.text(running.err)}"
    return run
