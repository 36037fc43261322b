"""The replay adapter: a capture through the engine, its own timestamps as the clock. No privileges, constant memory.

Which side a packet came from is told by its source address: inside is 100.64.0.0/10 and 2001:db8:64::/48 unless the
caller says otherwise.

A capture is not quite what a censor in the path saw, so three things are put right before the engine judges:

- *A packet that the capture cut short* (its snapshot length) was whole on the wire. It gets zeros for what is missing
  and the right checksum: sizes, sequence numbers and volumes are the true ones, headers and the beginning of the data
  are judged, and what was not captured can't match a name. `Judged.cut` marks decisions on such packets.
- *A checksum that the sender's hardware would have filled in* holds the sum of the pseudo header alone (Linux,
  CHECKSUM_PARTIAL). It is finished, as the network card did before the packet reached the censor.
- *A timestamp that goes back* (files merged out of order, several clocks) does not turn the censor's clock back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from testbed.dpi.decision import Decision, Side
from testbed.dpi.engine import Engine
from testbed.wire import ip, pcap
from testbed.wire.framing import packet_offset

INSIDE = ("100.64.0.0/10", "2001:db8:64::/48")
_MOST_ADDRESSES = 1 << 18
#: where TCP and UDP keep their checksums
_CHECKSUM_AT = {ip.TCP: 16, ip.UDP: 6}


@dataclass(frozen=True, slots=True)
class Judged:
    """A frame that drew a decision worth telling; `cut` if the capture holds only its beginning.

    A timer of the censor's own is told with the frame before it.
    """

    frame: int
    timestamp: float
    decision: Decision
    cut: bool = False


class Replay:
    """One pass over a capture, counting as it goes.

    `frames`; of these `skipped` have no IP inside, `cut` were captured in part, `mended` had an unfinished checksum,
    `back` have a timestamp before their predecessor's; `inside` come from inside. `first` and `last` bound the time
    (Unix seconds). `ends_early` says afterwards that the file stops inside a packet.
    """

    def __init__(self, engine: Engine, inside: Sequence[str] = INSIDE) -> None:
        self._engine = engine
        self._networks = [ipaddress.ip_network(prefix, strict=False) for prefix in inside]
        self._sides: dict[bytes, Side] = {}
        self._partial: dict[bytes, int] = {}
        self.frames = self.skipped = self.cut = self.mended = self.back = self.inside = 0
        self.first: float | None = None
        self.last: float | None = None
        self.ends_early = False

    def run(self, source: BinaryIO) -> Iterator[Judged]:
        """Yield the frames that drew a note or an injected packet; `ValueError` if the capture is none, or broken."""
        reader = pcap.Reader(source)
        receive, next_timer, sides, inside = self._engine.receive, self._engine.next_timer, self._sides, Side.INSIDE
        clock = float("-inf")
        for frame, timestamp, linktype, data, wire_length in reader:
            self.frames = frame
            if timestamp > clock:
                clock = timestamp
                if self.first is None:
                    self.first = timestamp
            elif timestamp < clock:
                self.back += 1
            self.last = clock
            start = packet_offset(linktype, data)
            if start is None:
                self.skipped += 1
                continue
            packet = data[start:]
            cut = len(data) < wire_length
            if cut:
                self.cut += 1
                packet = completed(packet)
            address = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
            side = sides.get(address) or self._side(address)
            if side is inside:
                self.inside += 1
            if (due := next_timer()) is not None and due <= clock:
                yield from self._timers(frame - 1, clock)
            decision = receive(self._finished(packet), side, clock)
            if decision.notes or decision.injections:
                yield Judged(frame, timestamp, decision, cut)
        self.ends_early = reader.ends_early

    def _timers(self, frame: int, now: float) -> Iterator[Judged]:
        """Let the censor's timers run that are due by `now`, each at its own time."""
        while (due := self._engine.next_timer()) is not None and due <= now:
            injections = tuple(self._engine.handle_timer(due))
            if injections:
                yield Judged(frame, due, Decision(injections=injections))
            if self._engine.next_timer() == due:
                return  # it was asked and has nothing more to do at that time

    def _side(self, address: bytes) -> Side:
        side = Side.OUTSIDE
        if len(address) in (4, 16):
            found = ipaddress.ip_address(address)
            if any(found in network for network in self._networks):
                side = Side.INSIDE
        if len(self._sides) >= _MOST_ADDRESSES:
            self._sides.clear()
        self._sides[address] = side
        return side

    def _finished(self, packet: bytes) -> bytes:
        """Finish a TCP or UDP checksum that was left to the network card."""
        if packet[0] == 0x45:
            proto, header, addresses = packet[9:10], 20, packet[12:20]
        elif packet[0] >> 4 == 6:
            proto, header, addresses = packet[6:7], 40, packet[8:40]
        else:
            return packet
        at = header + 16 if proto == b"\x06" else header + 6 if proto == b"\x11" else 0xFFFF
        if len(packet) < at + 2:
            return packet
        partial = self._partial.get(addresses)
        if partial is None:
            if len(self._partial) >= _MOST_ADDRESSES:
                self._partial.clear()
            partial = self._partial[addresses] = int.from_bytes(addresses, "big") % 0xFFFF
        length = (packet[2] << 8 | packet[3]) - 20 if header == 20 else packet[4] << 8 | packet[5]
        if (partial + proto[0] + length - (packet[at] << 8 | packet[at + 1])) % 0xFFFF:
            return packet
        if not at - header < length <= len(packet) - header:
            return packet
        self.mended += 1
        return _with_checksum(packet[: header + length], header, proto[0])


def completed(packet: bytes) -> bytes:
    """Fill a packet that a capture cut short with zeros to its own length, and make its checksum right again.

    A packet whose headers are cut as well is returned as it is.
    """
    try:
        found = ip.parse(packet, cut=True)
    except (ValueError, IndexError):
        return packet
    missing = found.total_len - len(found.raw)
    if missing <= 0:
        return packet
    at = _CHECKSUM_AT.get(found.proto)
    if at is None or found.is_fragment or len(found.payload) < at + 2:
        return packet + bytes(missing)
    return _with_checksum(packet + bytes(missing), found.header_len, found.proto)


def _with_checksum(packet: bytes, header: int, proto: int) -> bytes:
    """Write the right TCP or UDP checksum into a packet without link padding."""
    at = header + _CHECKSUM_AT[proto]
    src, dst = (packet[12:16], packet[16:20]) if packet[0] >> 4 == 4 else (packet[8:24], packet[24:40])
    body = packet[header:at] + b"\0\0" + packet[at + 2 :]
    total = ip.checksum(ip.pseudo_header(src, dst, proto, len(body)) + body)
    if proto == ip.UDP:
        total = total or 0xFFFF
    return packet[:at] + total.to_bytes(2, "big") + packet[at + 2 :]
