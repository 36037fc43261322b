"""A small TCP Reno (RFC 5681, NewReno's recovery) over a pair of link models, in virtual time: how loss costs speed."""

from __future__ import annotations

from dataclasses import dataclass, field

from testbed.link.model import LinkModel
from testbed.link.spec import DirectionSpec

_MSS, _HEADERS, _ACK = 1448, 52, 52
_NEVER = float("inf")


@dataclass
class Reno:
    """An endless transfer. Sequence numbers count segments."""

    down: LinkModel[int]
    up: LinkModel[int]
    now: float = 43200.0
    window: float = 10.0
    threshold: float = 1e9
    acked: int = 0
    sent: int = 0
    duplicates: int = 0
    recover: int = -1
    timeout_at: float = _NEVER
    timeout_s: float = 1.0
    received: set[int] = field(default_factory=set)
    expected: int = 0

    def run(self, seconds: float) -> float:
        """Return the goodput in bit/s of payload."""
        end = self.now + seconds
        begun, before = self.now, self.expected
        self._fill()
        while self.now < end:
            moments = [self.down.next_due(), self.up.next_due(), self.timeout_at]
            self.now = min(moment for moment in moments if moment is not None)
            for _, segment in self.down.due(self.now):
                self._receive(segment)
            for _, ack in self.up.due(self.now):
                self._acknowledge(ack)
            if self.timeout_at <= self.now:
                self._time_out()
        return (self.expected - before) * _MSS * 8 / (self.now - begun)

    def _send(self, segment: int) -> None:
        self.down.enqueue(_MSS + _HEADERS, segment, self.now)
        if self.timeout_at == _NEVER:
            self.timeout_at = self.now + self.timeout_s

    def _fill(self) -> None:
        left = self.duplicates if self.recover >= 0 else 0  # in recovery each says that a segment has left the net
        while self.sent < self.acked + int(self.window) + left:
            self._send(self.sent)
            self.sent += 1

    def _receive(self, segment: int) -> None:
        self.received.add(segment)
        while self.expected in self.received:
            self.received.discard(self.expected)
            self.expected += 1
        self.up.enqueue(_ACK, self.expected, self.now)

    def _acknowledge(self, ack: int) -> None:
        if ack > self.acked:
            self.acked, self.duplicates = ack, 0
            self.timeout_s = 1.0
            self.timeout_at = self.now + self.timeout_s if self.sent > ack else _NEVER
            if ack <= self.recover:
                self._send(ack)  # a partial acknowledgement: the next hole
            elif self.recover >= 0:
                self.window, self.recover = self.threshold, -1
            else:
                self.window += 1 if self.window < self.threshold else 1 / self.window
        else:
            self.duplicates += 1
            if self.duplicates == 3 and self.recover < 0:
                self.threshold = max(2.0, self.window / 2)
                self.window, self.recover = self.threshold, self.sent
                self._send(self.acked)
        self._fill()

    def _time_out(self) -> None:
        self.threshold, self.window = max(2.0, self.window / 2), 1.0
        self.sent, self.duplicates, self.recover = self.acked, 0, -1
        self.timeout_s = min(60.0, self.timeout_s * 2)
        self.timeout_at = _NEVER
        self._fill()


def goodput(loss: float, *, seconds: float = 120.0, seed: int = 1, rate: str = "0.5 Mbit/s") -> float:
    """Return the goodput in bit/s after 30 s over a link of 205 ms and a queue of 500 ms, with loss on the way down."""
    up = DirectionSpec.model_validate({"rate": rate, "delay": "102.5 ms"})
    down = DirectionSpec.model_validate({"rate": rate, "delay": "102.5 ms", "loss": loss})
    transfer = Reno(LinkModel(down, seed=seed), LinkModel(up, seed=seed + 1000))
    transfer.run(30.0)
    return transfer.run(seconds)
