"""The national link's process: frames from one port through a `LinkModel` to the other, both ways.

`python -m testbed.middlebox.pipe CONFIG.json`, in the link's namespaces. Owns the clock and two packet sockets. ARP and
neighbour discovery pass at once and free of charge: on a real link they don't exist. Every departure is logged with the
moment it was due and the moment it happened, from which `link.fidelity` judges the run. Ten times a second the state of
both directions is written as a JSON line, from which reports and the live page draw.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed import control
from testbed.documents import Document, validate
from testbed.errors import TestbedError
from testbed.link.model import LinkModel
from testbed.link.spec import LinkSpec, plain

#: direction (0 up, 1 down), IP bytes, due and actual departure in seconds since the run's start
DEPARTURE = struct.Struct("<BxHxxxxdd")
_ETH_P_ALL, _PACKET_OUTGOING = 3, 4
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
_LARGEST_IP_BYTES = 1500
_ICMPV6_NEIGHBOUR = range(133, 138)
_LONGEST_WAIT_S = 0.5
_SAMPLE_S = 0.1
_SPIN_S = 0.0002


@dataclass(slots=True)
class _Direction:
    source: socket.socket
    target: socket.socket
    model: LinkModel[bytes]
    number: int
    oversize: int = 0
    kernel_drops: int = 0
    arrived: int = 0
    arrived_bytes: int = 0

    def sample(self, now: float) -> dict[str, Any]:
        """Return the rate in force (None: unlimited), what waits now, and what happened since the start."""
        spec, counters = self.model.spec, self.model.counters
        hours = spec.hours(now % 86400.0)
        rate = hours.rate if hours is not None and hours.rate is not None else spec.rate
        return {
            "rate_bps": rate, "delay_s": spec.delay, "queue_bytes": self.model.waiting_bytes(now),
            "entered": counters.entered, "lost": counters.lost, "overflowed": counters.overflowed,
            "arrived": self.arrived, "arrived_bytes": self.arrived_bytes,
        }  # fmt: skip


class Pipe:
    """Both directions of the link."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._epoch, self._t0 = float(config["epoch"]), float(config["t0"])
        spec = self._spec = _link_spec(config["link"])
        inside, outside = _port(config["inside_if"]), _port(config["outside_if"])
        seed = int(config["seed"])
        self._directions = (
            _Direction(inside, outside, LinkModel(spec.up, seed=seed * 2), 0),
            _Direction(outside, inside, LinkModel(spec.down, seed=seed * 2 + 1), 1),
        )
        self._log = Path(config["log"]).open("ab", buffering=1 << 16)  # noqa: SIM115 - closed in close()
        self._samples = Path(config["samples"]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - likewise
        self._next_sample = 0.0
        self._control = control.serve(Path(config["control"]), self._answer)
        self._running = True

    def now(self) -> float:
        """Return the emulated Unix time."""
        return self._epoch + time.monotonic() - self._t0

    def run(self) -> None:
        """Carry frames until told to stop."""
        by_descriptor = {direction.source.fileno(): direction for direction in self._directions}
        descriptors = [*by_descriptor, self._control.fileno()]
        while self._running:
            # select() and not epoll: its timeout is in microseconds, theirs is rounded up to a millisecond
            for descriptor in select.select(descriptors, (), (), self._wait_s())[0]:
                direction = by_descriptor.get(descriptor)
                if direction is None:
                    self._control.accept_ready()
                else:
                    self._take(direction)
            for direction in self._directions:
                self._deliver(direction)
            self._sample()

    def _sample(self) -> None:
        now = self.now()
        if now >= self._next_sample:
            self._next_sample = now + _SAMPLE_S
            up, down = (direction.sample(now) for direction in self._directions)
            self._samples.write(json.dumps({"t": round(now - self._epoch, 3), "up": up, "down": down}) + "\n")

    def _wait_s(self) -> float:
        """Return how long to sleep: a little less than until the next departure, the rest is spent looking."""
        due = [when for d in self._directions if (when := d.model.next_due()) is not None]
        if not due:
            return _LONGEST_WAIT_S
        return min(_LONGEST_WAIT_S, max(0.0, min(due) - self.now() - _SPIN_S))

    def stop(self) -> None:
        """End `run`."""
        self._running = False

    def _take(self, direction: _Direction) -> None:
        for _ in range(64):
            try:
                frame, address = direction.source.recvfrom(65600)
            except BlockingIOError:
                return
            if address[2] == _PACKET_OUTGOING:
                continue
            if _is_neighbour_talk(frame):
                direction.target.send(frame)
                continue
            size = len(frame) - 14
            if size > _LARGEST_IP_BYTES:
                direction.oversize += 1
            direction.model.enqueue(_ip_length(frame, size), frame, self.now())

    def _deliver(self, direction: _Direction) -> None:
        now = self.now()
        for due, frame in direction.model.due(now):
            try:
                direction.target.send(frame)
            except OSError:
                continue  # the other end's interface is down: as on a cut cable, the frame is gone
            size = min(len(frame) - 14, 65535)
            direction.arrived += 1
            direction.arrived_bytes += size
            self._log.write(DEPARTURE.pack(direction.number, size, due - self._epoch, self.now() - self._epoch))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request["op"]
        if operation == "set":
            spec = self._spec = _link_spec(request["link"])
            for direction, side in zip(self._directions, (spec.up, spec.down), strict=True):
                direction.model.change(side, self.now())
            return {"ok": True}
        if operation == "get":
            return {"link": plain(self._spec)}
        if operation == "clock":
            self._epoch, self._t0 = float(request["epoch"]), float(request["t0"])
            self._samples.truncate(0)  # of the time before the run
            self._next_sample = 0.0
            return {"ok": True}
        if operation == "stats":
            return self.stats()
        if operation == "stop":
            self.stop()
            return {"ok": True}
        raise ValueError(f"unknown operation {operation!r}")

    def stats(self) -> dict[str, Any]:
        """Return the counters of both directions."""
        self._log.flush()
        for direction in self._directions:
            _, dropped = struct.unpack("II", direction.source.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            direction.kernel_drops += dropped
        return {
            "queue_drops": sum(direction.kernel_drops for direction in self._directions),
            "oversize": sum(direction.oversize for direction in self._directions),
            "up": asdict(self._directions[0].model.counters),
            "down": asdict(self._directions[1].model.counters),
        }

    def close(self) -> None:
        """Let go of sockets and the log."""
        self._control.close()
        self._log.close()
        self._samples.close()
        for direction in self._directions:
            direction.source.close()


def _link_spec(data: dict[str, Any]) -> LinkSpec:
    return validate(Document("link", data, {}), LinkSpec)


def _port(interface: str) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            port.setsockopt(socket.SOL_SOCKET, option, 1 << 23)
            break
        except OSError:
            continue
    port.bind((interface, 0))
    membership = struct.pack("iHH8s", socket.if_nametoindex(interface), 1, 0, b"")  # PACKET_MR_PROMISC
    port.setsockopt(_SOL_PACKET, 1, membership)
    port.setblocking(False)
    return port


def _is_neighbour_talk(frame: bytes) -> bool:
    kind = frame[12:14]
    if kind == b"\x86\xdd":
        if frame[38:40] == b"\xff\x02":  # link-local multicast: solicitations and listener reports
            return True
        return len(frame) > 54 and frame[20] == 58 and frame[54] in _ICMPV6_NEIGHBOUR
    return kind != b"\x08\x00"


def _ip_length(frame: bytes, fallback: int) -> int:
    """Return the IP length; a short frame's padding costs nothing."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= 18:
        return int.from_bytes(frame[16:18], "big")
    return fallback


def main(path: Path) -> int:
    """Serve as the link that a file describes; return the exit status."""
    try:
        pipe = Pipe(json.loads(path.read_text(encoding="utf-8")))
    except TestbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    signal.signal(signal.SIGTERM, lambda number, frame: pipe.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):  # an ordinary user's: the fidelity report says whether it mattered
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    gc.freeze()
    print("ready", flush=True)
    try:
        pipe.run()
    finally:
        pipe.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
