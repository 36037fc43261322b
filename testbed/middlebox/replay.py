"""The replay adapter: a capture through the engine, its own timestamps as the clock. No privileges, constant memory.

Which side a packet came from is told by its source address: inside is 100.64.0.0/10 and 2001:db8:64::/48 unless the
caller says otherwise.

A capture is not quite what a censor in the path saw, so four things are put right before the engine judges:

- *A packet that the capture cut short* (its snapshot length) was whole on the wire. It gets zeros for what is missing
  and the right checksum: sizes, sequence numbers and volumes are the true ones, headers and the beginning of the data
  are judged, and what was not captured can't match a name. `Judged.cut` marks decisions on such packets.
- *A checksum that the sender's hardware would have filled in* holds the sum of the pseudo header alone (Linux,
  CHECKSUM_PARTIAL). It is finished, as the network card did before the packet reached the censor.
- *A length of 0* stands in a large TCP packet that the sender's hardware was to cut (Windows, Linux's BIG TCP): its
  frame tells the length, and its checksum is finished.
- *A timestamp that goes back* (files merged out of order, several clocks) does not turn the censor's clock back.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from testbed.dpi.decision import Decision, Side
from testbed.dpi.engine import Engine
from testbed.wire import ip, pcap
from testbed.wire.framing import READ, packet_offset

INSIDE = ("100.64.0.0/10", "2001:db8:64::/48")
_INSIDE, _OUTSIDE = Side.INSIDE, Side.OUTSIDE
_V4_IN_ETHERNET = b"\x08\x00\x45"
_MOST_PAIRS = 1 << 18
_LONGEST_PACKET = 0xFFFF
_NO_LENGTH, _NO_LENGTH_V6 = b"\0\0", b"\0\0\6"  # the second with the TCP that follows
#: of an IPv4 packet without options: total length, protocol, both addresses, where UDP and TCP have their checksums
_plain_v4 = struct.Struct("!2xH5xB2x8s6xH8xH").unpack_from
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
        networks = [ipaddress.ip_network(prefix, strict=False) for prefix in inside]
        #: network and mask by the length of their addresses in bytes
        self._networks = {
            size: [(int(n.network_address), int(n.netmask)) for n in networks if n.max_prefixlen == size * 8]
            for size in (4, 16)
        }
        self._pairs: dict[bytes, tuple[bool, int]] = {}
        self.frames = self.skipped = self.cut = self.mended = self.back = self.inside = 0
        self.unread_types: set[int] = set()
        """Link types of frames in which no IP packet was looked for."""
        self.first: float | None = None
        self.last: float | None = None
        self.ends_early = False

    def run(self, source: BinaryIO) -> Iterator[Judged]:
        """Yield the frames that drew a note or an injected packet; `ValueError` if the capture is none, or broken."""
        reader = pcap.Reader(source)
        receive, next_timer, pairs = self._engine.receive, self._engine.next_timer, self._pairs
        clock, frame, inside = float("-inf"), 0, 0
        try:
            for frame, timestamp, linktype, data, wire_length in reader:
                if timestamp > clock:
                    clock = timestamp
                    if self.first is None:
                        self.first = timestamp
                elif timestamp < clock:
                    self.back += 1
                if linktype == pcap.ETHERNET and data[12:15] == _V4_IN_ETHERNET:
                    packet, begin = data[14:], 14
                else:
                    start = packet_offset(linktype, data)
                    if start is None:
                        self.skipped += 1
                        if linktype not in READ:
                            self.unread_types.add(linktype)
                        continue
                    packet, begin = data[start:], start
                cut = len(data) < wire_length
                if packet[2:4] == _NO_LENGTH or packet[4:7] == _NO_LENGTH_V6:
                    packet = self._measured(packet, wire_length - begin)
                if cut:
                    self.cut += 1
                    packet = completed(packet)
                if packet[0] == 0x45 and len(packet) >= 40:
                    total, proto, addresses, udp_sum, tcp_sum = _plain_v4(packet)
                    side, partial = pairs.get(addresses) or self._pair(addresses)
                    found = tcp_sum if proto == 6 else udp_sum
                    if not (partial + proto + total - 20 - found) % 0xFFFF:
                        packet = self._finished(packet, 20, proto, total - 20)
                else:
                    side, packet = self._with_care(packet)
                inside += side
                if (due := next_timer()) is not None and due <= clock:
                    yield from self._timers(frame - 1, clock)
                decision = receive(packet, _INSIDE if side else _OUTSIDE, clock)
                if decision.notes or decision.injections:
                    yield Judged(frame, timestamp, decision, cut)
        finally:
            self.frames, self.inside = frame, inside
            self.last = None if self.first is None else clock
            self.ends_early = reader.ends_early

    def _timers(self, frame: int, now: float) -> Iterator[Judged]:
        """Let the censor's timers run that are due by `now`, each at its own time."""
        while (due := self._engine.next_timer()) is not None and due <= now:
            injections = tuple(self._engine.handle_timer(due))
            if injections:
                yield Judged(frame, due, Decision(injections=injections))
            if self._engine.next_timer() == due:
                return  # it was asked and has nothing more to do at that time

    def _pair(self, addresses: bytes) -> tuple[bool, int]:
        """Return whether the first of two addresses is inside, and what the pair adds to a checksum; remember both."""
        source = addresses[: len(addresses) // 2]
        number, inside = int.from_bytes(source, "big"), False
        for network, mask in self._networks.get(len(source), ()):
            inside = inside or number & mask == network
        if len(self._pairs) >= _MOST_PAIRS:
            self._pairs.clear()
        found = self._pairs[addresses] = inside, int.from_bytes(addresses, "big") % 0xFFFF
        return found

    def _measured(self, packet: bytes, length: int) -> bytes:
        """Write its length into a TCP packet that was to be cut by the sender's card."""
        measured = with_length(packet, length)
        self.mended += measured is not packet
        return measured

    def _with_care(self, packet: bytes) -> tuple[bool, bytes]:
        """Do the same for IPv6, IPv4 with options, and what is too short to be either."""
        if packet[0] >> 4 == 6:
            header, proto, addresses, length = 40, packet[6:7], packet[8:40], int.from_bytes(packet[4:6], "big")
        else:
            header, proto, addresses = packet[0] % 16 * 4, packet[9:10], packet[12:20]
            length = int.from_bytes(packet[2:4], "big") - header
        inside, partial = self._pairs.get(addresses) or self._pair(addresses)
        at = header + _CHECKSUM_AT.get(proto[0], len(packet)) if proto else len(packet)
        if at + 2 <= len(packet) and not (partial + proto[0] + length - (packet[at] << 8 | packet[at + 1])) % 0xFFFF:
            packet = self._finished(packet, header, proto[0], length)
        return inside, packet

    def _finished(self, packet: bytes, header: int, proto: int, length: int) -> bytes:
        """Finish a TCP or UDP checksum that was left to the network card, if that is what this is."""
        if proto not in _CHECKSUM_AT or not _CHECKSUM_AT[proto] + 2 <= length <= len(packet) - header:
            return packet
        at = header + _CHECKSUM_AT[proto]
        is_fragment = header != 40 and (packet[6] & 0x3F or packet[7])
        if is_fragment or (proto == ip.UDP and packet[at : at + 2] == b"\0\0"):
            return packet
        finished = _with_checksum(packet[: header + length], header, proto)
        # One right checksum in 65,535 looks unfinished; finishing it changes nothing.
        self.mended += finished != packet[: header + length]
        return finished


def with_length(packet: bytes, length: int) -> bytes:
    """Give a TCP packet whose header says 0 its length, and the checksums that go with it."""
    version, header = packet[0] >> 4, packet[0] % 16 * 4
    length = min(length, _LONGEST_PACKET)
    if version == 4 and packet[2:4] == _NO_LENGTH and 20 <= header <= length - 20 and packet[9:10] == b"\6":
        fixed = packet[:2] + length.to_bytes(2, "big") + packet[4:10] + b"\0\0" + packet[12:header]
        found = fixed[:10] + ip.checksum(fixed).to_bytes(2, "big") + fixed[12:] + packet[header:]
    elif version == 6 and packet[4:7] == _NO_LENGTH_V6 and length >= 60:
        header = 40
        found = packet[:4] + (length - 40).to_bytes(2, "big") + packet[6:]
    else:
        return packet
    return _with_checksum(found[:length], header, ip.TCP) if len(found) >= length else found


def completed(packet: bytes) -> bytes:
    """Fill a packet that a capture cut short with zeros to its own length, and make its checksum right again.

    A packet whose headers are cut as well is returned as it is.
    """
    try:
        found = ip.parse(packet, cut=True)
    except ValueError:
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
