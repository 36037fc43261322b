"""The live box, in three namespaces in a row, against what it stands on: `.venv/bin/python bench/live.py [ROUNDS]`.

- undecided packets per second, a flood of DNS questions for a thousand names and then for a new one each, against a
  queue of the same binding that accepts everything;
- TCP connections per second (connect, one request, one answer), against the same queue;
- a decided TCP flow's bytes per second, against plain forwarding;
- the round trip of a DNS question that the engine judges both ways, against plain forwarding.

The references run in turn with the box; the best of the rounds counts, since a shared machine only ever takes away.
Where there is a queue on both sides, the time that the two processes spent on each packet is told as well: it is what
the rates come to on a machine that is busy with something else.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from testbed import proc
from testbed.middlebox import kernel, nfqueue
from tests.live.line import SERVER, Line, end, enter

SECONDS = 1.5
POLICY = "tm-2022"
#: of a flow `tm-2022` looks at so many data packets; from then on the kernel has it
_LOOKED_AT = 16
_NAMES = 1000


def noop() -> None:
    """Accept everything, as fast as the binding can: the box's loop without a box."""
    queue = nfqueue.Queue(kernel.QUEUE)
    # every packet: the box's own rule takes only what its tables have marked, and here are none
    rules = f"*mangle\n-A FORWARD -j NFQUEUE --queue-num {kernel.QUEUE}\nCOMMIT\n"
    proc.run(["iptables-restore", "-w", "5"], input=rules)
    print("ready", flush=True)
    while True:
        select.select([queue.fileno()], (), ())
        for _ in range(32):
            packets = queue.receive()
            if not packets:
                break
            for queued in packets:
                queue.accept(queued.id)
        queue.flush()


def serve() -> None:
    """Echo questions to one address, swallow those to all others; answer TCP 80, swallow streams on TCP 9."""
    sink, echo = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for one in (sink, echo):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sink.bind(("", 53))  # never read: what the socket can't hold is thrown away for free
    echo.bind((SERVER, 53))
    web, discard = (socket.create_server(("", port), backlog=1024) for port in (80, 9))
    print("ready", flush=True)
    streams: list[socket.socket] = []
    while True:
        for ready in select.select([echo, web, discard, *streams], (), ())[0]:
            if ready is echo:
                echo.sendto(*echo.recvfrom(2048))
            elif ready is web:
                peer = web.accept()[0]
                peer.recv(2048)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                peer.close()
            elif ready is discard:
                streams.append(discard.accept()[0])
            elif not ready.recv(1 << 20):
                streams.remove(ready)
                ready.close()


def _question(number: int) -> bytes:
    """Return a question for one of very many names, none of which a list holds, under an ID of its own."""
    head = struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0)
    return head + b"\x0b%011d\x07example\x03org\0\0\1\0\1" % number


def flood(names: int = _NAMES) -> None:
    """Send questions without pause, few enough of each flow for the box to look at every one of them."""
    known, number = [_question(number) for number in range(names)], 0
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    addresses = [(f"198.18.{third}.{last}", 53) for third in range(1, 241) for last in range(1, 251)]
    until = time.monotonic() + SECONDS + 1.0
    for address in addresses:
        for _ in range(_LOOKED_AT - 1):
            peer.sendto(known[number % names] if names else _question(number), address)
            number += 1
        if time.monotonic() > until:
            return


def connect() -> None:
    """Open connections one after the other; print how many a second."""
    request = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
    begun, count = time.monotonic(), 0
    while time.monotonic() < begun + SECONDS:
        with socket.create_connection((SERVER, 80)) as peer:
            peer.sendall(request)
            while peer.recv(2048):
                pass
        count += 1
    print(count / (time.monotonic() - begun))


def stream() -> None:
    """Send one stream; print its megabytes per second, the first tenth of a second left out."""
    chunk = bytes(1 << 16)
    with socket.create_connection((SERVER, 9)) as peer:
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            peer.sendall(chunk)
        begun, sent = time.monotonic(), 0
        while time.monotonic() < begun + SECONDS:
            peer.sendall(chunk)
            sent += len(chunk)
        print(sent / (time.monotonic() - begun) / 1e6)


def bounce() -> None:
    """Print the median round trip of a question, in milliseconds; each flow ends before it is decided."""
    times = []
    for _ in range(200):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.connect((SERVER, 53))
            for _ in range(_LOOKED_AT // 2 - 1):
                begun = time.perf_counter()
                peer.send(_question(0))
                peer.recv(2048)
                times.append(time.perf_counter() - begun)
    print(statistics.median(times) * 1e3)


class Measured(NamedTuple):
    """A figure, and the time of its own that a process with the queue spent on each packet, kernel's part included."""

    figure: float
    cpu_us: float


def _used_us(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


class Bench:
    """The line and its three ways of forwarding."""

    def __init__(self, line: Line) -> None:
        self._line, self._boxes = line, 0

    def through(self, way: str, measure: Callable[[], float]) -> Measured:
        """Measure with plain forwarding, through the no-op queue, or through the box."""
        if way == "plain":
            return Measured(measure(), 0.0)
        if way == "noop":
            process = self._line.start("gw", [sys.executable, __file__, "noop"])
            try:
                return self._queueing(process.pid, measure)
            finally:
                end(process)
                self._line.clear()
        self._boxes += 1
        box = self._line.box(POLICY, name=f"box{self._boxes}")
        try:
            return self._queueing(box.pid, measure)
        finally:
            box.end()

    def _queueing(self, pid: int, measure: Callable[[], float]) -> Measured:
        """Measure while a process has the queue, and what each packet cost it."""
        packets, used_us = self._queued(), _used_us(pid)
        found = measure()
        packets, used_us = self._queued() - packets, _used_us(pid) - used_us
        if not packets:
            raise RuntimeError("no packet came to the queue, so this measures plain forwarding")
        return Measured(found, used_us / packets)

    def client(self, what: str) -> float:
        """Run one of the clients to its end and return the number it prints."""
        return float(self._line.fabric.run("client", [sys.executable, __file__, what]).stdout)

    def delivered(self, what: str) -> float:
        """Return how many packets a second reach the server under a flood."""
        flooding = self._line.start("client", [sys.executable, __file__, what], ready=False)
        time.sleep(0.5)
        before, begun = self._received(), time.monotonic()
        time.sleep(SECONDS)
        rate = (self._received() - before) / (time.monotonic() - begun)
        flooding.wait()
        return rate

    def _queued(self) -> int:
        """Return how many packets were ever given to the queue: the last but one field, its next packet's number."""
        path = "/proc/net/netfilter/nfnetlink_queue"
        return sum(int(row.split()[-2]) for row in self._line.fabric.run("gw", ["cat", path]).stdout.splitlines())

    def _received(self) -> int:
        path = "/sys/class/net/server-eth0/statistics/rx_packets"
        return int(self._line.fabric.run("server", ["cat", path]).stdout)


def inside(rounds: int) -> None:
    """Measure everything in turn and print the ratios."""
    with tempfile.TemporaryDirectory() as folder, Line(Path(folder)) as line:
        line.start("server", [sys.executable, __file__, "serve"])
        bench = Bench(line)

        def pair(
            name: str, reference: str, measure: Callable[[], float], best: Callable[[list[float]], float] = max
        ) -> tuple[float, float]:
            ways = {way: list[Measured]() for way in ("box", reference)}
            for _ in range(rounds):
                for way, found in ways.items():
                    found.append(bench.through(way, measure))
            ours, other = (best([one.figure for one in found]) for found in ways.values())
            print(f"{name:22} {ours:9.3f}   {reference:5} {other:9.3f}", end="   ")
            middle = statistics.median(one.figure / of.figure for one, of in zip(*ways.values(), strict=True))
            print(f"median of the rounds {middle:.2f}", end="   ")
            ours_us, other_us = (min(one.cpu_us for one in found) for found in ways.values())
            if other_us:
                share = other_us / ours_us
                print(f"own time {ours_us:5.1f} µs a packet, {reference} {other_us:4.1f}: {share:.2f}", end="   ")
            return ours, other

        for what, name in (("flood", "undecided, 1/s"), ("flood-new", "  each name new")):
            ours, other = pair(name, "noop", functools.partial(bench.delivered, what))
            print(f"ratio {ours / other:.2f} (goal 0.6)")
        ours, other = pair("TCP connections, 1/s", "noop", lambda: bench.client("connect"))
        print(f"ratio {ours / other:.2f} (goal 0.5)")
        ours, other = pair("decided TCP flow, MB/s", "plain", lambda: bench.client("stream"))
        print(f"ratio {ours / other:.2f} (goal 0.9)")
        ours, other = pair("round trip, ms", "plain", lambda: bench.client("bounce"), min)
        print(f"added {ours - other:.3f} (goal 0.3)")


_PARTS = {
    "noop": noop, "serve": serve, "flood": flood, "flood-new": functools.partial(flood, 0), "connect": connect,
    "stream": stream, "bounce": bounce,
}  # fmt: skip


if __name__ == "__main__":
    word = sys.argv[1] if len(sys.argv) > 1 else "3"
    if word in _PARTS:
        _PARTS[word]()
    elif "LINE_INSIDE" in os.environ:
        inside(int(word))
    else:
        sys.exit(enter([__file__, word], timeout_s=60 + 40 * int(word)).returncode)
