"""The clients, and what one run of one of them takes."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field

from files import difference

MIB = 1 << 20
US, AZCOPY, PYTHON, FLOOR = "azure-nixos", "AzCopy", "Python SDK", "floor"
PAIR = "qemu-img, AzCopy"


def target_length(size):
    """What a managed disk for this file has: whole MiB, 20 at least, and the footer."""
    return max(-(-size // MIB), 20) * MIB + 512


def command(client, path, url, between=None):
    match client:
        case "azure-nixos":
            program = os.environ["COMPARE_AZURE_NIXOS"]
            return [program, "upload-vhd", path, "--sas", url, "-o", "json", "--progress", "none"]
        case "AzCopy":
            where = ["--blob-type", "PageBlob", "--from-to", "LocalBlob"]
            return ["azcopy", "copy", path, url, *where, "--skip-version-check"]
        case "qemu-img, AzCopy":
            how = "-O vpc -o subformat=fixed,force_size=on"
            upload = '"$2" "$3" --blob-type PageBlob --from-to LocalBlob --skip-version-check'
            script = f'qemu-img convert -f qcow2 {how} "$1" "$2" && azcopy copy {upload}'
            return ["sh", "-c", script, "sh", path, between, url]
        case "Python SDK":
            script = os.path.join(os.path.dirname(__file__), "upload_page_blob.py")
            return ["azure-python", script, path, url]
        case "floor":
            return [os.environ["COMPARE_FLOOR"], path, url]
    raise AssertionError(client)


def environment(scratch):
    """The user's, without proxies, and with a place for what the clients note down."""
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    kept["AZCOPY_LOG_LOCATION"] = kept["AZCOPY_JOB_PLAN_LOCATION"] = os.path.join(scratch, "azcopy")
    kept["XDG_STATE_HOME"] = os.path.join(scratch, "state")
    return kept


@dataclass
class Run:
    """One upload. Times in seconds, memory and bytes in bytes."""

    client: str
    file: str
    link: str
    wall: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    # Why it does not count.
    failure: str | None = None
    # The time limit that it ran into.
    limit: float | None = None
    wire: dict | None = None
    said: dict = field(default_factory=dict)


class Running:
    """A client that was started, by a program that measures its memory: Linux counts that in all of its
    life, from before it was the client, and this process is not small."""

    def __init__(self, words, scratch, name):
        self.out = os.path.join(scratch, name + ".out")
        self.err = os.path.join(scratch, name + ".err")
        self.peak = os.path.join(scratch, name + ".peak")
        words = [shutil.which("time"), "--quiet", "--format=%M", "--output", self.peak, *words]
        with open(self.out, "wb") as out, open(self.err, "wb") as err, open(self.peak, "wb"):
            self.began = time.monotonic()
            # A group of its own: what it starts ends with it.
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=environment(scratch), start_new_session=True,
            )
        self.handle = os.pidfd_open(self.process.pid)

    def ends_within(self, seconds):
        return bool(select.select([self.handle], [], [], max(seconds, 0))[0])

    def kill(self):
        """Kills all that it started, but not the program that measures it: that one says what it took until then."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if int(name) != self.process.pid and os.getpgid(int(name)) == self.process.pid:
                    os.kill(int(name), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait(self):
        """Wall time, processor time, peak of memory, and exit code."""
        _, status, usage = os.wait4(self.process.pid, 0)
        wall = time.monotonic() - self.began
        os.close(self.handle)
        # So that Popen does not wait for what is gone.
        self.process.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        # Nothing is said of one that was killed.
        peak = int(self.text(self.peak) or usage.ru_maxrss)
        return wall, cpu, peak << 10, self.process.returncode

    def text(self, path, most=2000):
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()[-most:].strip()

    def said(self):
        """The object that it printed, if it is one that prints one."""
        try:
            return json.loads(self.text(self.out, 1 << 20))
        except ValueError:
            return {}


class Upload:
    """One client, one file, one fresh target, over one link. `image` is what the client is given where
    that is not the raw disk, and `between` a file that it may write."""

    def __init__(self, server, client, kind, path, link, scratch, image=None, between=None):
        self.server, self.path, self.client = server, path, client
        self.name = client.lower().replace(",", "").replace(" ", "-") + ".vhd"
        self.run = Run(client, kind, link.name)
        server.delete(self.name)
        # AzCopy and the SDK make the blob themselves.
        if client in (US, FLOOR):
            server.create(self.name, target_length(os.path.getsize(path)))
        self.link = link.open(server)
        url = server.url(self.name, self.link.address)
        self.running = Running(command(client, image or path, url, between), scratch, self.name)

    def finish(self, limit):
        run, running = self.run, self.running
        left = limit - (time.monotonic() - running.began)
        if not running.ends_within(left):
            run.limit = limit
            running.kill()
        run.wall, run.cpu, run.memory, code = running.wait()
        run.wire = self.link.close()
        run.said = running.said()
        if run.limit is None:
            if code != 0:
                said = running.text(running.err) or running.text(running.out)
                # A traceback has the reason in its last line.
                run.failure = f"exit code {code}: {said.splitlines()[-1] if said else 'nothing said'}"
            else:
                run.failure = self.compare()
        # What the floor prepared and read is not timed.
        if self.client == FLOOR and not run.failure:
            run.wall, run.cpu = run.said["seconds"], run.said["cpu"]
        self.server.delete(self.name)
        return run

    def compare(self):
        target = self.server.file(self.name)
        if target is None:
            return "there is no blob"
        length = os.path.getsize(self.path)
        if self.client in (US, FLOOR, PAIR):
            length = target_length(length)
        # The floor writes none.
        return difference(self.path, target, length, footer=self.client in (US, PAIR))
