"""The live half of active probing: connections from the box to suspect servers, without ever waiting for one.

The engine asks (`Decision.probes`), this makes the connections when their time has come, sends what they say, and
reports what came back. It judges nothing. Bounded: at most `most` at once, each over after `patience_s`.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed.dpi.decision import Probe
from testbed.wire.ip import address_text

_LONGEST_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answered:
    """What a probe saw: whether the server took the connection, and its first bytes."""

    probe: Probe
    connected: bool
    answer: bytes


@dataclass(slots=True)
class _Running:
    probe: Probe
    socket: socket.socket
    until: float
    connected: bool = False


@dataclass(order=True, slots=True)
class _Waiting:
    due: float
    order: int
    probe: Probe = field(compare=False)


class Prober:
    """The probes of one box. Times are the box's clock, in seconds."""

    def __init__(self, *, patience_s: float = 3.0, most: int = 32) -> None:
        self._patience_s, self._most = patience_s, most
        self._waiting: list[_Waiting] = []
        self._running: dict[int, _Running] = {}
        self._order = 0

    def start(self, probe: Probe, now: float) -> None:
        """Take a probe that is to begin `probe.after_s` from now."""
        self._order += 1
        heapq.heappush(self._waiting, _Waiting(now + probe.after_s, self._order, probe))

    def sockets(self) -> tuple[list[int], list[int]]:
        """Return the descriptors to wait for: readable ones, writable ones."""
        if not self._running:
            return [], []
        reading = [number for number, running in self._running.items() if running.connected]
        writing = [number for number, running in self._running.items() if not running.connected]
        return reading, writing

    def next_due(self) -> float | None:
        """Return when something is to be done although no socket is ready."""
        if not self._waiting and not self._running:
            return None
        due = [running.until for running in self._running.values()]
        if self._waiting and len(self._running) < self._most:
            due.append(self._waiting[0].due)
        return min(due, default=None)

    def step(self, ready: set[int], now: float) -> Iterator[Answered]:
        """Go on with the sockets that are ready, begin and end what is due; yield the probes that are over."""
        for number in sorted(ready & self._running.keys()):
            over = self._go_on(self._running[number])
            if over is not None:
                self._close(number)
                yield over
        for number, running in list(self._running.items()):
            if running.until <= now:
                self._close(number)
                yield Answered(running.probe, running.connected, b"")
        while self._waiting and self._waiting[0].due <= now and len(self._running) < self._most:
            refused = self._begin(heapq.heappop(self._waiting).probe, now)
            if refused is not None:
                yield refused

    def _begin(self, probe: Probe, now: float) -> Answered | None:
        family = socket.AF_INET if len(probe.address) == 4 else socket.AF_INET6
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        code = connection.connect_ex((address_text(probe.address), probe.port))
        if code not in (0, errno.EINPROGRESS):
            connection.close()
            return Answered(probe, False, b"")
        self._running[connection.fileno()] = _Running(probe, connection, now + self._patience_s)
        return None

    @staticmethod
    def _go_on(running: _Running) -> Answered | None:
        connection, probe = running.socket, running.probe
        try:
            if not running.connected:
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    return Answered(probe, False, b"")
                running.connected = True
                connection.send(probe.payload)
                return None
            return Answered(probe, True, connection.recv(_LONGEST_ANSWER_BYTES))
        except BlockingIOError:
            return None
        except OSError:
            return Answered(probe, running.connected, b"")

    def _close(self, number: int) -> None:
        self._running.pop(number).socket.close()

    def close(self) -> None:
        """Give up all probes."""
        self._waiting.clear()
        for number in list(self._running):
            with contextlib.suppress(OSError):
                self._close(number)
