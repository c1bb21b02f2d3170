"""The local Azure as the clients see it, and the link to it."""

import base64
import glob
import json
import os
import ssl
import subprocess
import urllib.request

MIB = 1 << 20


class Server:
    """A container of a storage account; the environment says where (compare.sh makes it)."""

    def __init__(self):
        self.state = os.environ["COMPARE_STATE"]
        self.address = os.environ["COMPARE_BLOB"]
        self.sas = os.environ["COMPARE_SAS"]
        self.arm = os.environ["AZURE_AUTHORITY_HOST"]
        user = f"{os.environ['AZURE_CLIENT_ID']}:{os.environ['AZURE_CLIENT_SECRET']}"
        self.basic = "Basic " + base64.b64encode(user.encode()).decode()
        trust = ssl.create_default_context(cafile=os.path.join(self.state, "ca.pem"))
        # No proxy: everything is on loopback.
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )

    def url(self, name, address=None):
        return f"http://{address or self.address}/bench/vhds/{name}?{self.sas}"

    def ask(self, method, url, headers, body=b""):
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        with self.opener.open(request) as answer:
            return answer.read()

    def create(self, name, length):
        """An empty page blob. A managed disk is there with its length before its upload as well."""
        headers = {
            "x-ms-version": "2020-10-02",
            "x-ms-blob-type": "PageBlob",
            "x-ms-blob-content-length": str(length),
        }
        self.ask("PUT", self.url(name), headers)

    def delete(self, name):
        if self.file(name):
            self.ask("DELETE", self.url(name), {"x-ms-version": "2020-10-02"})

    def file(self, name):
        """The file that has the content of a blob, or None."""
        for about in glob.glob(f"{self.state}/accounts/bench/vhds/*.json"):
            with open(about, encoding="utf-8") as file:
                record = json.load(file)
            if record.get("about", {}).get("name") == name:
                return os.path.join(self.state, record["file"])
        return None

    def faults(self, rules):
        headers = {"Authorization": self.basic, "Content-Type": "application/json"}
        body = json.dumps({"rule": rules}).encode()
        return json.loads(self.ask("PUT", f"{self.arm}/local/faults", headers, body))


class Link:
    """What lies between client and server: nothing, a relay with a rate, or faults."""

    def __init__(self, name, rate=None, delay=0, rules=()):
        self.name, self.rate, self.delay, self.rules = name, rate, delay, rules
        self.server = self.relay = self.address = None

    def open(self, server):
        link = Link(self.name, self.rate, self.delay, self.rules)
        link.server, link.address = server, server.address
        server.faults(list(self.rules))
        if self.rate:
            words = [os.environ["COMPARE_LINK"], server.address, str(self.rate), str(self.delay)]
            link.relay = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            link.address = link.relay.stdout.readline().strip()
        return link

    def close(self):
        """Ends it; what passed it, if it counts."""
        # Nothing of it is for what comes next.
        self.server.faults([])
        if self.relay is None:
            return None
        passed, _ = self.relay.communicate()
        return json.loads(passed)


FAST = Link("fast")
DISK = Link("60 MiB/s, 20 ms", rate=60 * MIB, delay=20)
SLOW = Link("2 Mbit/s, 80 ms", rate=2_000_000 // 8, delay=80)
RESETS = Link("1 % resets", rules=[{"plane": "blob", "probability": 0.01, "seed": 7, "reset": "after"}])
BUSY = Link(
    "5 % 503",
    rules=[
        {
            "plane": "blob",
            "probability": 0.05,
            "seed": 7,
            "respond": {"status": 503, "code": "ServerBusy"},
        }
    ],
)
