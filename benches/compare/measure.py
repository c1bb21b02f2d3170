"""Runs the clients against each other and prints what they took; compare.sh starts it."""

import argparse
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

import convert
import goals
import large
import packed
import resume
from clients import AZCOPY, FLOOR, PYTHON, US, Upload
from files import DENSE, FULL, HALF, ROOM, SMALL, SPARSE, TEBIBYTE, make
from server import BUSY, DISK, FAST, MIB, RESETS, SLOW, Server

ALL = [US, AZCOPY, PYTHON]
# What is measured: part, file, link, clients. One file after the other: each is made once.
PLAN = [
    ("fast", SPARSE, FAST, ALL),
    ("fast", FULL, FAST, ALL),
    ("fast", DENSE, FAST, [FLOOR, *ALL]),
    # Into several places, with clients of their own.
    ("convert", SPARSE, None, None),
    ("convert", FULL, None, None),
    ("convert", DENSE, None, None),
    ("qcow2", SPARSE, FAST, packed.CLIENTS),
    ("links", DENSE, RESETS, ALL),
    ("links", DENSE, BUSY, ALL),
    ("fast", TEBIBYTE, FAST, ALL),
    ("links", HALF, DISK, ALL),
    ("kill", HALF, DISK, [US]),
    ("slow", SMALL, SLOW, ALL),
]
# Its files are its own.
LARGE = "inspect"
PARTS = [*dict.fromkeys(row[0] for row in PLAN), LARGE]
# Rounds even out what else the machine does for a moment; who takes longer than this, in seconds, has
# been through that in one.
LONG = 30
# Past the time of the file there, 268 s, and half as much again.
SLOW_LIMIT = 400


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120)
    parser.add_argument("--directory", required=True)
    parser.add_argument("parts", nargs="*")
    given = parser.parse_args()
    given.parts = given.parts or PARTS
    return given


def note(text):
    print(text, file=sys.stderr, flush=True)


class Measuring:
    def __init__(self, given):
        self.given = given
        self.server = Server()
        self.runs = []
        self.kills = []

    def everything(self):
        plan = [row for row in PLAN if row[0] in self.given.parts]
        for kind in dict.fromkeys(row[1] for row in plan):
            note(f"making: {kind}")
            path = make(kind, self.given.directory)
            for part, _, link, clients in (row for row in plan if row[1] == kind):
                if part == "kill":
                    self.kills = resume.measure(self.server, path, link, self.given, note)
                elif part == "convert":
                    self.conversions(kind, path)
                elif part == "qcow2":
                    self.from_qcow2(kind, path, link, clients)
                elif link is SLOW:
                    self.slowly(kind, path)
                else:
                    self.in_turns(kind, path, link, clients)
            os.remove(path)
        if LARGE in self.given.parts:
            self.large_disks()
        self.own_files()

    def own_files(self):
        """Files that were named instead of a part."""
        for path in self.given.parts:
            if path not in PARTS:
                self.in_turns(os.path.basename(path), path, FAST, ALL)

    def in_turns(self, kind, path, link, clients):
        enough = set()
        for number in range(self.given.rounds):
            for client in clients:
                if client not in enough:
                    run = Upload(self.server, client, kind, path, link, self.given.directory)
                    run = self.done(run.finish(self.given.limit), number)
                    if run.wall > LONG:
                        enough.add(client)

    def turns(self, clients):
        """Rounds and clients, each round beginning with another one: who comes behind a client that
        freed a lot of memory finds it ready."""
        for number in range(self.given.rounds):
            for place in range(len(clients)):
                yield number, clients[(number + place) % len(clients)]

    def conversions(self, kind, path):
        for place in convert.places(kind, path):
            for number, client in self.turns(place[-1]):
                run = convert.measure(client, kind, place, self.given.directory, self.given.limit)
                self.done(run, number)

    def from_qcow2(self, kind, path, link, clients):
        for more, how in packed.PACKINGS:
            image = packed.make(path, how)
            for number, client in self.turns(clients):
                run = packed.measure(self.server, client, kind + more, path, image, link, self.given)
                self.done(run, number)
            os.remove(image)

    def large_disks(self):
        for kind, *what in large.DISKS:
            path = large.make(self.given.directory, kind, *what)
            for number in range(self.given.rounds):
                run = large.measure(kind, path, self.given.directory, self.given.limit)
                self.done(run, number)
            os.remove(path)

    def slowly(self, kind, path):
        """All at once, each with a link of its own, once: nobody is busy, and it takes minutes."""
        started = [
            Upload(self.server, client, kind, path, SLOW, self.given.directory) for client in ALL
        ]
        limit = max(self.given.limit, SLOW_LIMIT)
        # Each is waited for on its own, so that its time ends when it does.
        with ThreadPoolExecutor(len(started)) as waiting:
            for run in waiting.map(lambda upload: upload.finish(limit), started):
                self.done(run, 0)

    def done(self, run, number):
        self.runs.append(run)
        how = f"failed: {run.failure}" if run.failure else "exact"
        if run.limit is not None:
            how = f"ended after {run.limit:.0f} s"
        wire = f", {run.wire['up'] / MIB:.1f} MiB on the wire" if run.wire else ""
        note(
            f"{run.file}, {run.link}, round {number + 1}, {run.client}: {run.wall:.2f} s,"
            f" CPU {run.cpu:.2f} s, {run.memory / MIB:.0f} MiB{wire}, {how}"
        )
        return run


def median(runs, value):
    return statistics.median(value(run) for run in runs)


def row(runs, ours):
    """A line of the table for the runs of one client; a run that failed makes the line fail."""
    first = runs[0]
    head = f"| {first.file} | {first.link} | {first.client} "
    failed = [run for run in runs if run.failure]
    if failed:
        return head + f"| failed, {len(failed)} of {len(runs)} | | | | |"
    wall, cpu = (median(runs, lambda run: run.wall), median(runs, lambda run: run.cpu))
    memory = f"{median(runs, lambda run: run.memory) / MIB:.0f} MiB"
    if first.client == FLOOR:
        memory = ""
    more = "> " if any(run.limit for run in runs) else ""
    ratios = "| | "
    good = [run for run in ours if not run.failure and run.limit is None]
    if good and first.client != US:
        times = (
            wall / median(good, lambda run: run.wall),
            cpu / max(median(good, lambda run: run.cpu), 0.01),
        )
        ratios = "".join(f"| {more}{number:.2f} " for number in times)
    return head + f"| {more}{wall:.2f} s | {more}{cpu:.2f} s | {memory} {ratios}|"


def table(runs):
    if not runs:
        return
    print("\n| file | link | client | wall | CPU | peak memory | wall / ours | CPU / ours |")
    print("|---|---|---|---|---|---|---|---|")
    groups = {}
    for run in runs:
        groups.setdefault((run.file, run.link, run.client), []).append(run)
    for (file, link, _), group in groups.items():
        print(row(group, groups.get((file, link, US), [])))


def main():
    measuring = Measuring(arguments())
    try:
        measuring.everything()
    finally:
        # What was measured until then is worth something.
        table(measuring.runs)
        goals.table(measuring.runs, measuring.kills)
    failed = [run for run in measuring.runs if run.failure and run.client == US]
    inexact = [kill for kill in measuring.kills if kill.failure]
    return 1 if failed or inexact else 0


def room(given):
    """Prints the MiB that are needed for the files and for the server's copies."""
    kinds = [kind for part, kind, _, _ in PLAN if part in given.parts]
    for which in (0, 1):
        print(max((ROOM[kind][which] for kind in kinds), default=0) // MIB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["room"]:
        del sys.argv[1]
        room(arguments())
    else:
        sys.exit(main())
