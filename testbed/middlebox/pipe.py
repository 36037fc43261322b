"""The national link's process: frames from one port through a `LinkModel` to the other, both ways.

`python -m testbed.middlebox.pipe CONFIG.json`, in the link's namespaces. Owns the clock and two packet sockets. ARP and
neighbour discovery pass at once and free of charge: on a real link they don't exist. A packet enters the model at the
moment the kernel took it, however late we read it. Every departure is logged with the moments the packet came, was due
and left, from which `link.fidelity` judges the run: the time that this process was too late is in it. Ten times a
second the state of both directions is written as a JSON line, from which reports and the live page draw.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
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
from testbed.middlebox.samples import Samples, State

#: direction (0 up, 1 down), IP bytes, arrival, due and actual departure in seconds since the run's start
DEPARTURE = struct.Struct("<BxHxxxxddd")
_ETH_P_ALL, _PACKET_OUTGOING = 3, 4
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_PACKET_IGNORE_OUTGOING = 23
_PR_SET_TIMERSLACK = 29
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_TIMESPEC = struct.Struct("@ll")
_LONGEST_LAG_S = 5.0
_LARGEST_FRAME_BYTES = 65600
_LARGEST_IP_BYTES = 1500
_ICMPV6_NEIGHBOUR = range(133, 138)
_LONGEST_WAIT_S = 0.5
_SPIN_S = 0.00005  # longer would keep a core busy at high rates, and the kernel stops a real-time process that does


@dataclass(slots=True)
class _Direction:
    source: socket.socket
    target: socket.socket
    model: LinkModel[tuple[float, bytes]]
    number: int
    oversize: int = 0
    kernel_drops: int = 0
    send_drops: int = 0
    arrived: int = 0
    arrived_bytes: int = 0

    def sample(self, now: float) -> dict[str, Any]:
        """Return this direction's part of a sample."""
        spec, counters = self.model.spec, self.model.counters
        return {
            "rate_bps": spec.rate_at(now), "delay_s": spec.delay, "queue_bytes": self.model.waiting_bytes(now),
            "entered": counters.entered, "lost": counters.lost, "overflowed": counters.overflowed,
            "arrived": self.arrived, "arrived_bytes": self.arrived_bytes,
        }  # fmt: skip


class Pipe:
    """Both directions of the link."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._epoch, self._t0 = float(config["epoch"]), float(config["t0"])
        self._spec = _link_spec(config["link"])
        inside, outside = _port(config["inside_if"]), _port(config["outside_if"])
        self._seed = int(config["seed"])
        self._changed = False
        up, down = self._models()
        self._directions = (_Direction(inside, outside, up, 0), _Direction(outside, inside, down, 1))
        self._buffer = bytearray(_LARGEST_FRAME_BYTES)
        self._log = Path(config["log"]).open("ab", buffering=1 << 16)  # noqa: SIM115 - closed in close()
        self._samples = Samples(Path(config["samples"]))
        self._control = control.serve(Path(config["control"]), self._answer)
        self._running = True

    def _models(self) -> tuple[LinkModel[tuple[float, bytes]], LinkModel[tuple[float, bytes]]]:
        up, down = self._spec.up, self._spec.down
        return LinkModel(up, seed=self._seed * 2), LinkModel(down, seed=self._seed * 2 + 1)

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
            self._samples.take(self.now(), self._epoch, self._sampled)

    def _sampled(self, now: float) -> State:
        up, down = (direction.sample(now) for direction in self._directions)
        return up, down

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
        model, is_fair = direction.model, direction.model.spec.queue.fair
        for _ in range(64):
            try:
                length, about, _, address = direction.source.recvmsg_into([self._buffer], 64)
            except BlockingIOError:
                return
            if address[2] == _PACKET_OUTGOING:
                continue
            frame = bytes(memoryview(self._buffer)[:length])
            if _is_neighbour_talk(frame):
                self._send(direction, frame)
                continue
            size = length - 14
            if size > _LARGEST_IP_BYTES:
                direction.oversize += 1
            came = self.now() - _lag_s(about)
            model.enqueue(_ip_length(frame, size), (came, frame), came, flow_of(frame) if is_fair else None)

    def _send(self, direction: _Direction, frame: bytes) -> bool:
        """Put a frame on the other port; a frame that the machine could not take is counted, for it was not lost."""
        try:
            direction.target.send(frame)
        except OSError as error:
            # on a cut cable (the other end's interface is down) a frame is gone as it would be
            direction.send_drops += error.errno not in (errno.ENETDOWN, errno.ENXIO)
            return False
        return True

    def _deliver(self, direction: _Direction) -> None:
        for due, (came, frame) in direction.model.due(self.now()):
            if not self._send(direction, frame):
                continue
            size = min(len(frame) - 14, 65535)
            direction.arrived += 1
            direction.arrived_bytes += size
            moments = (moment - self._epoch for moment in (came, due, self.now()))
            self._log.write(DEPARTURE.pack(direction.number, size, *moments))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request["op"]
        if operation == "set":
            spec = self._spec = _link_spec(request["link"])
            self._changed = True
            for direction, side in zip(self._directions, (spec.up, spec.down), strict=True):
                direction.model.change(side, self.now())
            self._samples.hurry()
            return {"ok": True}
        if operation == "get":
            return {"link": plain(self._spec)}
        if operation == "clock":
            self._begin(float(request["epoch"]), float(request["t0"]))
            return {"ok": True}
        if operation == "stats":
            return self.stats()
        if operation == "stop":
            self.stop()
            return {"ok": True}
        raise ValueError(f"unknown operation {operation!r}")

    def _begin(self, epoch: float, t0: float) -> None:
        """Let the run begin now: what was before it is forgotten, with the packets on their way."""
        self._epoch, self._t0 = epoch, t0
        self._log.truncate(0)
        self._samples.restart()
        self._changed = False
        for direction, model in zip(self._directions, self._models(), strict=True):
            direction.model = model
            direction.oversize = direction.send_drops = direction.arrived = direction.arrived_bytes = 0

    def stats(self) -> dict[str, Any]:
        """Return the counters of both directions, and whether they were changed in between."""
        self._log.flush()
        for direction in self._directions:
            _, dropped = struct.unpack("II", direction.source.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
            direction.kernel_drops += dropped
        return {
            "changed": self._changed,
            "queue_drops": sum(direction.kernel_drops for direction in self._directions),
            "send_drops": sum(direction.send_drops for direction in self._directions),
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
    port.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    with contextlib.suppress(OSError):  # before Linux 4.20 what we send comes back to us, and is skipped in `_take`
        port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    membership = struct.pack("iHH8s", socket.if_nametoindex(interface), 1, 0, b"")  # PACKET_MR_PROMISC
    port.setsockopt(_SOL_PACKET, 1, membership)
    port.setblocking(False)
    return port


def _lag_s(about: list[tuple[int, int, bytes]]) -> float:
    """Return how long ago the kernel took a packet; 0 if it doesn't say, or its clock was set meanwhile."""
    for level, kind, value in about:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            lag_s = (time.time_ns() - seconds * 10**9 - nanoseconds) / 1e9
            return lag_s if 0.0 <= lag_s < _LONGEST_LAG_S else 0.0
    return 0.0


def flow_of(frame: bytes) -> bytes:
    """Return a name of a packet's flow: addresses, protocol, ports; fragments of one pair of hosts are one flow."""
    if frame[12:14] == b"\x86\xdd":
        return frame[20:21] + frame[22:58] if frame[20] in (6, 17) else frame[20:21] + frame[22:54]
    if frame[12:14] != b"\x08\x00":
        return b""
    start = 14 + (frame[14] & 15) * 4
    is_fragment = frame[20] & 0x3F or frame[21]
    ports = frame[start : start + 4] if frame[23] in (6, 17) and not is_fragment else b""
    return frame[23:24] + frame[26:34] + ports


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
    if frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        return 40 + int.from_bytes(frame[18:20], "big")
    return fallback


def _hurry() -> None:
    """Be woken exactly when asked, before others; the fidelity report says whether it was enough."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    with contextlib.suppress(PermissionError):  # an ordinary user may not
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main(path: Path) -> int:
    """Serve as the link that a file describes; return the exit status."""
    try:
        pipe = Pipe(json.loads(path.read_text(encoding="utf-8")))
    except TestbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    signal.signal(signal.SIGTERM, lambda number, frame: pipe.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hurry()
    gc.freeze()
    print("ready", flush=True)
    try:
        pipe.run()
    finally:
        pipe.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
