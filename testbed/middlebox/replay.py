"""The replay adapter: a capture through the engine, its own timestamps as the clock. No privileges, constant memory.

Which side a packet came from is told by its source address: inside is 100.64.0.0/10 and 2001:db8:64::/48 unless the
caller says otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from testbed.dpi.decision import Decision, Side
from testbed.dpi.engine import Engine
from testbed.wire import pcap

INSIDE = ("100.64.0.0/10", "2001:db8:64::/48")


@dataclass(frozen=True, slots=True)
class Judged:
    """A frame that drew a decision worth telling."""

    frame: int
    timestamp: float
    decision: Decision


class Replay:
    """One pass over a capture. `frames` and `skipped` (no IP inside) count as it goes."""

    def __init__(self, engine: Engine, inside: Sequence[str] = INSIDE) -> None:
        self._engine = engine
        self._networks = [ipaddress.ip_network(prefix, strict=False) for prefix in inside]
        self._sides: dict[bytes, Side] = {}
        self.frames = self.skipped = 0

    def run(self, source: BinaryIO) -> Iterator[Judged]:
        """Yield the frames that drew a note or an injected packet."""
        for record in pcap.read(source):
            self.frames += 1
            packet = pcap.strip_link(record.linktype, record.data)
            if packet is None:
                self.skipped += 1
                continue
            decision = self._engine.receive(packet, self._side(packet), record.timestamp)
            if decision.notes or decision.injections:
                yield Judged(record.frame, record.timestamp, decision)

    def _side(self, packet: memoryview) -> Side:
        source = bytes(packet[12:16]) if packet[0] >> 4 == 4 else bytes(packet[8:24])
        side = self._sides.get(source)
        if side is None:
            side = Side.OUTSIDE
            if len(source) in (4, 16):
                address = ipaddress.ip_address(source)
                if any(address in network for network in self._networks):
                    side = Side.INSIDE
            if len(self._sides) > 1 << 20:
                self._sides.clear()
            self._sides[source] = side
        return side
