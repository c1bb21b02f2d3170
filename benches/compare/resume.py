"""kill -9 at a random moment, and what the second run sends again."""

import json
import os
import random
import shutil
import time
from dataclasses import dataclass

from clients import US, Running, command, target_length
from files import difference, stored

KILLS = 5
FOOTER = 512
SEED = 20261126


@dataclass
class Kill:
    """Bytes; `after` in seconds."""

    after: float
    # What the server had when the client was gone.
    arrived: int
    # The most that was on its way at one time, as the client said every half second.
    in_flight: int
    # What the second run sent, without the footer.
    again: int
    twice: int
    failure: str | None


def measure(server, path, link, given, note):
    chance = random.Random(SEED)
    kills = []
    for number in range(KILLS):
        # A file of half a GiB takes eight seconds on the link.
        kill = once(server, path, link, given, chance.uniform(0.5, 7.5))
        note(
            f"kill {number + 1} after {kill.after:.2f} s: {kill.arrived} bytes had arrived,"
            f" {kill.in_flight} were on their way at most, {kill.again} were sent then,"
            f" {kill.twice} of them twice; {kill.failure or 'exact'}"
        )
        kills.append(kill)
    return kills


def once(server, path, link, given, after):
    name, scratch = "killed.vhd", given.directory
    journal = os.path.join(scratch, "journal")
    os.mkdir(journal)
    server.delete(name)
    length = os.path.getsize(path)
    server.create(name, target_length(length))
    way = link.open(server)
    words = command(US, path, server.url(name, way.address)) + ["--journal", journal]
    words[words.index("none")] = "json"
    first = Running(words, scratch, name)
    if first.ends_within(after):
        raise SystemExit(f"error: the upload to be killed was over within {after:.2f} s")
    first.kill()
    first.wait()
    # The server takes in what it has received in full.
    time.sleep(0.5)
    arrived = stored(server.file(name))
    # By the same address: that is what the journal knows a blob by.
    second = Running(words, scratch, name + ".again")
    if not second.ends_within(given.limit):
        second.kill()
    code = second.wait()[3]
    way.close()
    failure = None if code == 0 else f"exit code {code}: {second.text(second.err)}"
    failure = failure or difference(path, server.file(name), target_length(length), footer=True)
    again = second.said().get("bytes_sent", 0) - FOOTER
    server.delete(name)
    shutil.rmtree(journal)
    return Kill(after, arrived, in_flight(first), again, arrived + again - length, failure)


def in_flight(running):
    with open(running.err, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    most = 0
    for line in lines:
        # The last line may be half of one, and notes are none.
        try:
            transfer = json.loads(line).get("transfer") or {}
        except ValueError:
            continue
        most = max(most, transfer.get("in_flight", 0))
    return most
