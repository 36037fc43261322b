"""Fragments put together again as a host does it, or as a censor does it differently.

Where fragments overlap, systems disagree on whose bytes count, and a censor that decides otherwise than the server can
be evaded (Ptacek & Newsham 1998; Shankar & Paxson, "Active Mapping", 2003). `overlap` names the families that Novak,
"Target-Based Fragmentation Reassembly" (2005), found, as Snort's frag3 and Suricata have them:

    first-wins  what came first stays
    last-wins   what came last overwrites (RFC 791's example)
    bsd         a fragment stays where it begins before the new one, or with it
    linux       a fragment stays where it begins before the new one (Linux to 4.18)
    bsd-right   the other way round: the new one yields where the old one begins behind it
    drop        any overlap but an exact duplicate ends the packet (RFC 5722; IPv6, and Linux since 4.19 for IPv4 too)

Everything is bounded: what waits too long goes, and if there is too much, the packet begun first. Both are counted.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from testbed.wire import ip

Overlap = Literal["first-wins", "last-wins", "bsd", "linux", "bsd-right", "drop"]
_LONGEST_BYTES = 65535
_STAYS: dict[str, Callable[[int, int], bool]] = {
    "first-wins": lambda old, new: True,
    "last-wins": lambda old, new: False,
    "bsd": lambda old, new: old <= new,
    "linux": lambda old, new: old < new,
    "bsd-right": lambda old, new: old > new,
}


@dataclass(frozen=True, slots=True)
class FragmentKnobs:
    """How fragments are put together."""

    overlap: Overlap = "first-wins"
    overlap_v6: Overlap = "drop"
    timeout_s: float = 30.0
    """How long after its first fragment a packet is waited for (Linux 30 s, RFC 1122 60 to 120 s)."""
    timeout_v6_s: float = 60.0
    """The same for IPv6 (RFC 8200 §4.5)."""
    most_packets: int = 1024
    """Packets waited for at once."""
    most_fragments: int = 64
    """Fragments of one packet; one more ends it."""
    most_bytes: int = 4 << 20
    """Bytes held in all (Linux: ipfrag_high_thresh, 4 MiB)."""
    smallest_first_bytes: int = 0
    """A first fragment with less behind its IP header is thrown away (RFC 1858 §3.1: 16)."""


Piece = tuple[int, int, bytes]
"""Begin, end (bytes of the whole payload), and what stands there."""


@dataclass(slots=True)
class _Waiting:
    """A packet of which fragments have come. `end` is known once the last fragment has."""

    deadline: float
    pieces: list[Piece] = field(default_factory=list)
    head: bytes | None = None
    end: int | None = None
    furthest: int = 0
    count: int = 0
    held_bytes: int = 0
    dead: bool = False


class Fragments:
    """The packets waited for, and what became of others: `counters` has

    `complete`, `expired` (time-out), `evicted` (for room), `overlapping` (ended by an overlap), `refused` (fragments
    that no host takes: too small, too many, beyond 65,535 bytes, of an odd length, not all there, or with another end
    than known).
    """

    def __init__(self, spec: FragmentKnobs = FragmentKnobs()) -> None:
        self.knobs = spec
        self.counters = {"complete": 0, "expired": 0, "evicted": 0, "overlapping": 0, "refused": 0}
        self._waiting: OrderedDict[tuple[bytes, ...], _Waiting] = OrderedDict()
        self._held_bytes = 0

    def __len__(self) -> int:
        """Return how many packets are waited for."""
        return len(self._waiting)

    @property
    def held_bytes(self) -> int:
        """How many bytes of fragments wait."""
        return self._held_bytes

    def add(self, packet: ip.Packet, now: float) -> bytes | None:
        """Take a packet at `now`; return it whole, with its header put right, once all of it is there.

        What is no fragment comes back at once, and so does an atomic fragment (RFC 6946), without its fragment header.
        """
        if not packet.is_fragment and (packet.version == 4 or not packet.extensions()):
            return bytes(packet.raw)
        head, data = _split(packet)
        if not packet.is_fragment:
            return bytes(packet.raw) if head is None else _joined(head, data)
        if packet.is_cut:
            self.counters["refused"] += 1
            return None
        assert head is not None
        key = _key(packet)
        self._expire(key, now)
        waiting = self._waiting.get(key)
        if waiting is None:
            lasts_s = self.knobs.timeout_s if packet.version == 4 else self.knobs.timeout_v6_s
            waiting = self._waiting[key] = _Waiting(now + lasts_s)
        if not waiting.dead and self._take(waiting, packet, head, data):
            del self._waiting[key]
            self._held_bytes -= waiting.held_bytes
            self.counters["complete"] += 1
            assert waiting.head is not None
            return _joined(waiting.head, b"".join(piece for _, _, piece in waiting.pieces))
        self._make_room()
        return None

    def _take(self, waiting: _Waiting, packet: ip.Packet, head: bytes, data: bytes) -> bool:
        """Add a fragment to its packet; say whether that is now whole."""
        begin = packet.frag_offset
        if packet.mf and len(data) % 8:
            data = data[: len(data) // 8 * 8] if packet.version == 4 else b""
        end = begin + len(data)
        overlap = self.knobs.overlap if packet.version == 4 else self.knobs.overlap_v6
        if self._is_refused(waiting, packet, begin, end, len(head)):
            self.counters["refused"] += 1
            if overlap == "drop":
                self._kill(waiting)
            return False
        waiting.count += 1
        if waiting.count > self.knobs.most_fragments:
            self.counters["refused"] += 1
            self._kill(waiting)
            return False
        if not packet.mf:
            waiting.end = end
        waiting.furthest = max(waiting.furthest, end)
        if begin == 0 and (waiting.head is None or overlap == "last-wins"):
            waiting.head = head
        if overlap != "drop":
            waiting.pieces = inserted(waiting.pieces, (begin, end, data), overlap)
        elif not self._fits(waiting, (begin, end, data)):
            return False
        held_bytes = sum(until - since for since, until, _ in waiting.pieces)
        self._held_bytes += held_bytes - waiting.held_bytes
        waiting.held_bytes = held_bytes
        return waiting.head is not None and waiting.end == held_bytes

    def _is_refused(self, waiting: _Waiting, packet: ip.Packet, begin: int, end: int, head_bytes: int) -> bool:
        if begin == end or end + head_bytes > _LONGEST_BYTES + (40 if packet.version == 6 else 0):
            return True
        if begin == 0 and end < self.knobs.smallest_first_bytes:
            return True
        if waiting.end is not None:
            return end > waiting.end or (not packet.mf and end != waiting.end)
        return not packet.mf and end < waiting.furthest

    def _fits(self, waiting: _Waiting, piece: Piece) -> bool:
        """Insert a piece that overlaps nothing; an exact duplicate is ignored, any other overlap ends the packet."""
        begin, end, _ = piece
        touched = [(since, until) for since, until, _ in waiting.pieces if since < end and begin < until]
        if touched == [(begin, end)]:
            return True
        if touched:
            self.counters["overlapping"] += 1
            self._kill(waiting)
            return False
        waiting.pieces = sorted([*waiting.pieces, piece])
        return True

    def _kill(self, waiting: _Waiting) -> None:
        """Give a packet up, and all fragments of it that still come in its time (RFC 5722 §4)."""
        self._held_bytes -= waiting.held_bytes
        waiting.held_bytes, waiting.pieces, waiting.head, waiting.dead = 0, [], None, True

    def _expire(self, key: tuple[bytes, ...], now: float) -> None:
        """Forget what waits too long; at the head of the queue, and for `key`, since the families' times differ."""
        while self._waiting and self._waiting[oldest := next(iter(self._waiting))].deadline <= now:
            self._forget(oldest, "expired")
        if key in self._waiting and self._waiting[key].deadline <= now:
            self._forget(key, "expired")

    def _forget(self, key: tuple[bytes, ...], why: str) -> None:
        waiting = self._waiting.pop(key)
        self._held_bytes -= waiting.held_bytes
        self.counters[why] += not waiting.dead

    def _make_room(self) -> None:
        while len(self._waiting) > self.knobs.most_packets or self._held_bytes > self.knobs.most_bytes:
            self._forget(next(iter(self._waiting)), "evicted")


def inserted(pieces: list[Piece], new: Piece, overlap: Overlap) -> list[Piece]:
    """Return disjoint `pieces`, in order, with a new one put in as the overlap family says."""
    begin, end, data = new
    stays = _STAYS[overlap]
    kept: list[Piece] = []
    for since, until, old in pieces:
        if until <= begin or since >= end or stays(since, begin):
            kept.append((since, until, old))
            continue
        if since < begin:
            kept.append((since, begin, old[: begin - since]))
        if until > end:
            kept.append((end, until, old[end - since :]))
    at = begin
    for since, until, _ in sorted(kept):
        if until <= at:
            continue
        if since >= end:
            break
        if since > at:
            kept.append((at, since, data[at - begin : since - begin]))
        at = until
    if at < end:
        kept.append((at, end, data[at - begin :]))
    return sorted(kept)


def _key(packet: ip.Packet) -> tuple[bytes, ...]:
    """What the fragments of one packet have in common (RFC 791 §3.2; RFC 8200 §4.5 leaves the protocol out)."""
    ident = packet.ident.to_bytes(4, "big")
    if packet.version == 4:
        return packet.src, packet.dst, ident, bytes((packet.proto,))
    return packet.src, packet.dst, ident


def _split(packet: ip.Packet) -> tuple[bytes | None, bytes]:
    """Return the header that all fragments share, as the whole packet has it but for lengths, and the fragment's data.

    The header is None if there is no fragmentation to undo.
    """
    raw = bytes(packet.raw)
    if packet.version == 4:
        bits = struct.pack("!H", packet.bits & ip.DF)
        return raw[:6] + bits + raw[8 : packet.header_len], raw[packet.header_len :]
    offset, link, found = 40, 6, None
    for kind, header in packet.extensions():
        if kind == ip.FRAGMENT:
            head = raw[:link] + raw[offset : offset + 1] + raw[link + 1 : offset]
            found = head, raw[offset + 8 :]
        link, offset = offset, offset + len(header)
    return found or (None, b"")


def _joined(head: bytes, data: bytes) -> bytes:
    if head[0] >> 4 == 6:
        return head[:4] + struct.pack("!H", len(head) - 40 + len(data)) + head[6:] + data
    fixed = head[:2] + struct.pack("!H", len(head) + len(data)) + head[4:10] + b"\0\0" + head[12:]
    return fixed[:10] + struct.pack("!H", ip.checksum(fixed)) + fixed[12:] + data
