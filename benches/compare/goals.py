"""What is wanted, beside what was measured."""

import statistics

import convert
import large
import packed
from clients import AZCOPY, FLOOR, PAIR, PYTHON, US
from files import DENSE, FULL, HALF, SMALL, SPARSE, TEBIBYTE
from server import DISK, FAST, MIB, SLOW


class Measured:
    """Medians of the runs that count."""

    def __init__(self, runs):
        self.runs = runs

    def of(self, file, link, client):
        found = [
            run
            for run in self.runs
            if (run.file, run.link, run.client) == (file, getattr(link, "name", link), client) and not run.failure
        ]
        return found or None

    def ratio(self, file, link, client, value, base=US):
        """Theirs by ours, and whether theirs is more, since it was ended."""
        theirs, ours = self.of(file, link, client), self.of(file, link, base)
        if not theirs or not ours or any(run.limit for run in ours):
            return None
        # Clocks of processor time count hundredths.
        least = max(statistics.median(map(value, ours)), 0.01)
        return statistics.median(map(value, theirs)) / least, any(run.limit for run in theirs)


def wall(run):
    return run.wall


def cpu(run):
    return run.cpu


def rows(runs, kills):
    """(goal, number, measured, met) of what was measured."""
    measured = Measured(runs)

    def at_least(goal, number, file, client, value, least):
        found = measured.ratio(file, FAST, client, value)
        if found:
            ratio, more = found
            yield goal, number, f"{'> ' if more else ''}{ratio:.1f}×", ratio >= least

    for client in (AZCOPY, PYTHON):
        for what, value in (("wall", wall), ("CPU", cpu)):
            goal = f"sparse ext4, fast link, {what}, than {client}"
            yield from at_least(goal, "≥ 10× less", SPARSE, client, value, 10)
    goal = "2 GiB random, fast link, wall, than AzCopy"
    yield from at_least(goal, "≥ 1.5× faster", DENSE, AZCOPY, wall, 1.5)
    goal = "the same, CPU, of AzCopy's"
    yield from at_least(goal, "≥ 3× less", DENSE, AZCOPY, cpu, 3)
    found = measured.ratio(DENSE, FAST, US, wall, base=FLOOR)
    if found:
        yield "2 GiB random, wall, against the raw floor", "≤ 1.25", f"{found[0]:.2f}", found[0] <= 1.25
    yield from of_formats(measured)
    yield from on_links(measured)
    ours = [run for run in runs if run.client == US and run.link not in (*convert.ALL, large.WHERE)]
    if ours:
        most = max(ours, key=lambda run: run.memory)
        shown = f"{most.memory / MIB:.0f} MiB ({most.file}, {most.link})"
        yield "peak memory, any file, default settings", "≤ 96 MiB", shown, most.memory <= 96 * MIB
    found = measured.of(TEBIBYTE, FAST, US)
    if found:
        took = statistics.median(map(wall, found))
        ended = any(run.limit for run in found)
        yield "1 TiB, 64 MiB of data, fast link", "≤ 3 s", f"{took:.2f} s", took <= 3 and not ended
    if kills:
        met = all(kill.twice <= kill.in_flight and not kill.failure for kill in kills)
        most = max(kills, key=lambda kill: kill.twice)
        shown = (
            f"{len(kills)} kills: at most {most.twice / MIB:.1f} MiB twice,"
            f" {most.in_flight / MIB:.1f} MiB were in flight"
        )
        yield "kill -9 at a random moment, resume", "≤ bytes in flight are sent twice", shown, met


def of_formats(measured):
    for where, client in (
        (convert.WHERE, convert.QEMU),
        (convert.WHERE, convert.QEMU_KEPT),
        (convert.IN_MEMORY, convert.QEMU),
        (convert.SHARING, convert.QEMU),
        (convert.SHARING, convert.QEMU_KEPT),
    ):
        for file, number, least in ((SPARSE, "≥ 2× faster", 2), (FULL, "not slower", 1), (DENSE, "not slower", 1)):
            found = measured.ratio(file, where, client, wall)
            if found:
                goal = f"convert {where}, {file}, than {client}"
                yield goal, number, f"{found[0]:.2f}×", found[0] >= least
    found = [run for run in measured.runs if (run.client, run.link) == (US, convert.WHERE)]
    if found:
        least, most = (which(run.memory for run in found) for which in (min, max))
        shown = f"{least / MIB:.0f} to {most / MIB:.0f} MiB"
        yield "convert, peak memory", "the same for every file, to 4 MiB", shown, most - least <= 4 * MIB
    for more, _ in packed.PACKINGS:
        found = measured.ratio(SPARSE + more, FAST, PAIR, wall)
        if found:
            goal = f"{SPARSE}{more}, onto a disk, than {PAIR}"
            yield goal, "≥ 3× faster", f"{'> ' if found[1] else ''}{found[0]:.1f}×", found[0] >= 3
    for kind, *_ in large.DISKS:
        found = measured.of(kind, large.WHERE, US)
        if found:
            took = statistics.median(map(wall, found))
            most = max(run.memory for run in found)
            ended = any(run.limit for run in found)
            met = took < 1 and most < 32 * MIB and not ended
            yield f"inspect, {kind}", "< 1 s, < 32 MiB", f"{took:.2f} s, {most / MIB:.0f} MiB", met


def on_links(measured):
    found = measured.of(HALF, DISK, US)
    if found:
        ratio = statistics.median(run.wall * DISK.rate / run.said["bytes_sent"] for run in found)
        number = "≤ 1.05 × bytes sent / 60 MiB/s"
        yield "60 MiB/s link, 20 ms", number, f"{ratio:.3f}", ratio <= 1.05
    found = measured.of(SMALL, SLOW, US)
    if found:
        run = found[0]
        ended = run.limit is not None
        ratio = run.wire["up"] / (64 * MIB)
        shown = f"{run.wall:.0f} s{' and not done' if ended else ''}, {ratio:.3f}"
        number = "finishes, bytes on the wire ≤ 1.10 × bytes to send"
        yield "2 Mbit/s link, 80 ms, 64 MiB", number, shown, not ended and ratio <= 1.10


def table(runs, kills):
    print("\n| goal | number | measured | met |\n|---|---|---|---|")
    for goal, number, shown, met in rows(runs, kills):
        print(f"| {goal} | {number} | {shown} | {'yes' if met else 'no'} |")
    failed = sum(1 for run in runs if run.failure and run.client == US)
    if failed:
        print(f"\n{failed} runs of azure-nixos failed and are not in this table")
