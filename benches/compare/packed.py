"""A qcow2 image onto a disk: straight from the image, beside qemu-img and AzCopy one after the other."""

import os
import subprocess

from clients import PAIR, US, Upload

CLIENTS = [US, PAIR]
# Behind the name of the file, and how it is made of the raw one.
PACKINGS = [(", qcow2", []), (", qcow2 with zlib", ["-c", "-o", "compression_type=zlib"])]


def make(raw, how):
    path = raw + ".qcow2"
    words = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *how]
    subprocess.run([*words, raw, path], check=True)
    os.sync()
    with open(path, "rb") as file:
        while file.read(4 << 20):
            pass
    return path


def measure(server, client, kind, raw, image, link, given):
    os.sync()
    between = os.path.join(given.directory, "between.vhd")
    upload = Upload(server, client, kind, raw, link, given.directory, image=image, between=between)
    run = upload.finish(given.limit)
    if os.path.exists(between):
        os.remove(between)
    return run
