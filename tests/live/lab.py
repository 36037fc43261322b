"""One running country whose gateway changes its policy, and the programs tried in it. Runs inside a sandbox."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.clock import RunClock
from testbed.run.country import Country
from testbed.run.directory import RunDirectory
from testbed.run.resolve import country_spec
from testbed.scenario.spec import Scenario, Topology
from tests.live.kernel_inside import InNetOf

ANY, CLOUDFLARE, HOSTER = "198.19.3.4", "198.18.128.9", "198.18.144.9"
"""Sites: anywhere, behind Cloudflare, at a hoster; each answers for any name, and none answers questions in DNS."""
RESOLVER, ECHO, SILENT, NOBODY = "198.18.0.53", "198.18.0.30", "198.18.0.21", "100.64.1.77"
"""The world's resolver, the host with the echo, one with neither, and an inside address without a host."""
ECHO_TCP, ECHO_UDP = (22, 443, 8443), (3478, 3479, 40001)
CA = "/etc/ssl/certs/ca-certificates.crt"
SEED = 1
_QUIET_S = 0.15
_SHOWN = "\n#%{http_code} %{size_download} %{speed_download}"


@dataclass(frozen=True)
class Program:
    """A command to run in a host, and how its end is told."""

    argv: Sequence[str]
    node: str = "client1"

    def told(self, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
        """Return exit status, output and error."""
        return {"exit": done.returncode, "out": done.stdout.decode("latin-1"), "error": done.stderr.decode("latin-1")}


class Curl(Program):
    """curl, unmodified, told which address a name has; its body, status and speed are read from what it prints."""

    def told(self, done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
        body, _, shown = done.stdout.decode("latin-1").rpartition("\n#")
        code, size, speed = [*shown.split(), "0", "0", "0"][:3]
        return {
            "exit": done.returncode, "body": body[:2000], "code": int(code), "bytes": int(size), "speed": float(speed),
            "error": done.stderr.decode("latin-1"),
        }  # fmt: skip


def curl(url: str, *more: str, address: str = ANY, seconds: float = 1.75, node: str = "client1") -> Curl:
    """Fetch a URL from an address within a time; the default ends well after a retransmission (1.65 s)."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition("/")[0].partition(":")
    where = f"{host}:{port or (443 if scheme == 'https' else 80)}:{address}"
    fixed = ["curl", "-sS", "--http1.1", "-w", _SHOWN, "--max-time", str(seconds), "--resolve", where]
    return Curl([*fixed, *more, url], node)


def download(url: str, address: str = ANY, seconds: float = 5.0) -> Curl:
    """Fetch a URL and throw its body away."""
    return curl(url, "-o", "/dev/null", address=address, seconds=seconds)


def dig(name: str, *more: str, server: str = ANY, seconds: int = 1, node: str = "client1") -> Program:
    """Ask an address for a name."""
    return Program(["dig", f"@{server}", name, *more, "+short", "+tries=1", f"+time={seconds}"], node)


def http3(url: str, address: str = ANY, seconds: int = 3) -> Program:
    """Fetch a URL over HTTP/3."""
    script = str(Path(__file__).with_name("http3.py"))
    return Program(["timeout", str(seconds), sys.executable, script, url, CA, address])


def ping(address: str) -> Program:
    """Send one echo request."""
    return Program(["ping", "-c1", "-W1", "-q", address])


class Lab:
    """The country, up, with an echo in the world; a context manager."""

    def __init__(self, folder: Path) -> None:
        directory = RunDirectory.prepared(folder)
        scenario = Scenario(scenario="lab", title="Lab", link="none", policy="open", topology=Topology(clients=16))
        job = {"capture": True, "seed": SEED}
        self.country = Country(country_spec(scenario, directory, job), directory, RunClock.start())
        self.policies: list[str] = []

    def __enter__(self) -> Lab:
        self.country.__enter__()
        argv = [sys.executable, "-m", "tests.live.lab"]
        popen = self.country.fabric.popen("tools", argv, stdout=subprocess.PIPE)
        assert popen.stdout is not None
        assert popen.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *error: Any) -> None:
        self.country.__exit__(*error)

    def censor(self, policy: str) -> None:
        """Give the gateway a policy, in a moment without traffic, so that a replay knows on which side a packet is."""
        time.sleep(_QUIET_S)
        self.country.set_policy("gateway", policy)
        self.policies.append(policy)
        time.sleep(_QUIET_S)

    def run(self, programs: Mapping[str, Program]) -> dict[str, Any]:
        """Run programs side by side; return what became of each."""
        started = {
            name: self.country.fabric.popen(
                one.node, one.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for name, one in programs.items()
        }
        found = {}
        for name, popen in started.items():
            out, err = popen.communicate(timeout=30)
            found[name] = programs[name].told(subprocess.CompletedProcess(popen.args, popen.returncode, out, err))
        return found

    def warm(self, *urls: str) -> None:
        """Let the world mint certificates before their names are measured."""
        for url in urls:
            found = self.run({url: curl(url, "--retry", "5", "--retry-all-errors", seconds=8.0)})
            assert found[url]["code"] == 200, found

    def tcp(self, address: str, port: int, *sent: bytes, wait_s: float = 0.4, node: str = "client1") -> list[str]:
        """Connect and send pieces; return after each what came back: hexadecimal, `reset`, `closed` or `silence`."""
        with InNetOf(self.country.fabric.pid(node)), socket.socket() as peer:
            peer.settimeout(1.0)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                peer.connect((address, port))
            except OSError as error:
                return [type(error).__name__]
            peer.settimeout(wait_s)
            return [_exchange(peer, piece) for piece in sent]

    def many(self, addresses: Sequence[str], port: int, content: bytes, wait_s: float = 1.0) -> int:
        """Connect to all, send the same to each; return how many said nothing at all."""
        with self._in(), contextlib.ExitStack() as stack:
            peers = []
            for address in addresses:
                peer = stack.enter_context(socket.socket())
                peer.settimeout(1.0)
                peer.connect((address, port))
                peer.sendall(content)
                peers.append(peer)
            time.sleep(wait_s)
            return len(peers) - len(select.select(peers, (), (), 0)[0])

    def udp(self, address: str, port: int, *sent: bytes, wait_s: float = 0.3) -> list[bool]:
        """Send datagrams from one port; return of each whether an answer came."""
        with self._in(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(wait_s)
            found = []
            for content in sent:
                peer.sendto(content, (address, port))
                try:
                    found.append(bool(peer.recv(4096)))
                except OSError:
                    found.append(False)
            return found

    def _in(self) -> InNetOf:
        return InNetOf(self.country.fabric.pid("client1"))


def _exchange(peer: socket.socket, piece: bytes) -> str:
    try:
        peer.sendall(piece)
        return peer.recv(4096).hex() or "closed"
    except TimeoutError:
        return "silence"
    except OSError:
        return "reset"


def echo() -> None:
    """Send back whatever comes, over TCP and UDP, until killed."""
    servers = [socket.create_server(("0.0.0.0", port)) for port in ECHO_TCP]
    datagrams = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ECHO_UDP]
    for datagram, port in zip(datagrams, ECHO_UDP, strict=True):
        datagram.bind(("0.0.0.0", port))
    print("ready", flush=True)
    peers: list[socket.socket] = []
    while True:
        for ready in select.select([*servers, *datagrams, *peers], (), ())[0]:
            if ready in servers:
                peers.append(ready.accept()[0])
            elif ready in datagrams:
                content, sender = ready.recvfrom(4096)
                ready.sendto(content, sender)
            else:
                with contextlib.suppress(OSError):
                    if content := ready.recv(4096):
                        ready.sendall(content)
                        continue
                peers.remove(ready)
                ready.close()


if __name__ == "__main__":
    echo()
