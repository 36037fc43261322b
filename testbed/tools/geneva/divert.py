"""Plays a strategy on this host: its packets are taken from the kernel by NFQUEUE and sent on as the strategy says.

What a strategy changed leaves by a packet socket, so that the kernel corrects nothing: a wrong length, checksum or
fragment goes out as it was made. What it left alone goes its own way through the kernel.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from testbed import proc
from testbed.middlebox.nfqueue import Queue, Queued
from testbed.tools.geneva.play import Emitted, Play
from testbed.tools.geneva.strategy import Strategy
from testbed.wire import ip

_OUT, _IN = 71, 72
_TICK_S, _NEIGHBOUR_S, _DISCARD = 0.05, 1.0, 9
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def rules(strategy: Strategy, ports: Sequence[int]) -> list[list[str]]:
    """Return the iptables arguments that divert what a strategy may act on; a queue nobody reads lets packets by."""
    found: list[list[str]] = []
    for trees, chain, queue, interface, side in (
        (strategy.outbound, "OUTPUT", _OUT, "-o", "--dports"),
        (strategy.inbound, "INPUT", _IN, "-i", "--sports"),
    ):
        if not trees:
            continue
        target = ["!", interface, "lo", "-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass"]
        for proto in ("tcp", "udp"):
            only = ["-m", "multiport", side, ",".join(map(str, ports))] if ports else []
            found.append(["-t", "mangle", "-A", chain, "-p", proto, *only, *target])
    return found


class Wire:
    """Sends whole IP packets by the way the kernel would take, and changes nothing in them."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._ways: dict[bytes, tuple[str, bytes]] = {}

    def send(self, raw: bytes, dst: bytes, version: int) -> None:
        """Send a packet towards an address; one that there is no way for is lost, as on a wire."""
        interface, mac = self._way(dst)
        if interface:
            with contextlib.suppress(OSError):  # larger than the MTU, or the interface is down
                self._socket.sendto(raw, (interface, _ETHERTYPE[version], 0, 0, mac))

    def _way(self, dst: bytes) -> tuple[str, bytes]:
        if dst not in self._ways:
            text = ip.address_text(dst)
            found = json.loads(proc.run(["ip", "-j", "route", "get", text], check=False).stdout or "[]")
            if not found:
                return "", b""
            interface, via = found[0]["dev"], found[0].get("gateway", text)
            mac = _neighbour(interface, via)
            if mac is None:
                return "", b""
            self._ways[dst] = (interface, mac)
        return self._ways[dst]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _neighbour(interface: str, address: str) -> bytes | None:
    """Return a neighbour's hardware address, empty where the interface needs none; the kernel is made to ask for it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asker:
        deadline = time.monotonic() + _NEIGHBOUR_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                asker.sendto(b"", (address, _DISCARD))
            argv = ["ip", "-j", "neighbour", "show", "to", address, "dev", interface]
            for entry in json.loads(proc.run(argv, check=False).stdout or "[]"):
                if "lladdr" in entry:
                    return bytes.fromhex(entry["lladdr"].replace(":", ""))
            link = json.loads(proc.run(["ip", "-j", "link", "show", interface], check=False).stdout or "[{}]")
            if "NOARP" in link[0].get("flags", []):
                return b""
            time.sleep(0.01)
    return None


@dataclass
class Diverter:
    """One strategy at work; `run` until told to stop."""

    play: Play
    wire: Wire
    _later: list[tuple[float, int, bytes, bytes, int]] = field(default_factory=list)
    _count: int = 0

    def outbound(self, queue: Queue, queued: Queued) -> None:
        """Send what the strategy makes of a packet; the packet itself goes on only if it was left alone."""
        raw = queued.raw
        sent = self.play.handle(raw, "out")
        if sent == [Emitted(raw)]:
            queue.accept(queued.id)
            return
        packet = ip.parse(raw)
        for emitted in sent:
            if emitted.delay_s > 0:
                self._count += 1
                due = time.monotonic() + emitted.delay_s
                heapq.heappush(self._later, (due, self._count, emitted.raw, packet.dst, packet.version))
            else:
                self.wire.send(emitted.raw, packet.dst, packet.version)
        queue.drop(queued.id)

    def inbound(self, queue: Queue, queued: Queued) -> None:
        """Let a packet in as the strategy leaves it."""
        raw = queued.raw
        sent = self.play.handle(raw, "in")
        if not sent:
            queue.drop(queued.id)
        else:
            queue.accept(queued.id, raw=None if sent[0].raw == raw else sent[0].raw)

    def send_due(self) -> float:
        """Send what slept long enough; return the seconds until the next, at most a tick."""
        while self._later and self._later[0][0] <= time.monotonic():
            _, _, raw, dst, version = heapq.heappop(self._later)
            self.wire.send(raw, dst, version)
        left = self._later[0][0] - time.monotonic() if self._later else _TICK_S
        return min(max(0.0, left), _TICK_S)

    def run(self, queues: Sequence[tuple[Queue, Callable[[Queue, Queued], None]]], stopped: Callable[[], bool]) -> None:
        """Handle packets until `stopped` says so."""
        while not stopped():
            for ready in select.select([queue for queue, _ in queues], [], [], self.send_due())[0]:
                act = next(act for queue, act in queues if queue is ready)
                for queued in ready.receive():
                    act(ready, queued)
                ready.flush()


@contextlib.contextmanager
def _diverted(strategy: Strategy, ports: Sequence[int]) -> Iterator[None]:
    wanted = [[program, *arguments] for program in ("iptables", "ip6tables") for arguments in rules(strategy, ports)]
    done: list[list[str]] = []
    try:
        for argv in wanted:
            completed = proc.run(argv, check=argv[0] == "iptables")
            done += [argv] if completed.status == 0 else []  # a host without IPv6 has nothing to divert there
        yield
    finally:
        for argv in done:
            proc.run(["-D" if word == "-A" else word for word in argv], check=False)


def divert(strategy: Strategy, *, ports: Sequence[int] = (), seed: int = 0, argv: Sequence[str] = ()) -> int:
    """Play a strategy until SIGTERM, or while a command runs; return the command's exit status."""
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stop.append(received))
    diverter = Diverter(Play(strategy, seed=seed), Wire())
    queues = [(Queue(_OUT), diverter.outbound), (Queue(_IN), diverter.inbound)]
    with _diverted(strategy, ports):
        command = subprocess.Popen(list(argv)) if argv else None
        if command is None:
            print("ready", flush=True)
        diverter.run(queues, lambda: bool(stop) or (command is not None and command.poll() is not None))
        if command is not None:
            if command.poll() is None:
                command.terminate()
            status = command.wait()
            return status if status >= 0 else 128 - status
    return 0
