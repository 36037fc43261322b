"""The opening of a flow: its first packets that carry data, all that a fingerprint may look at.

It lives in the flow and is bounded: at most `most` packets, of each at most the first `_LONGEST_KEPT_BYTES` bytes.
For TCP the packets are segments of two streams, so a recogniser reads `client_bytes` and `server_bytes`; for UDP each
is a message of its own; for ICMP the payload is the whole ICMP message, type and code first, and the ports are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

TCP: Final = 6
UDP: Final = 17
ICMP: Final = 1
ICMPV6: Final = 58
MOST_PACKETS: Final = 16
_LONGEST_KEPT_BYTES: Final = 2048
_HALF_OF_SEQUENCE: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Shown:
    """One packet that carries data: who sent it, its bytes (at most 2,048), its true length and when it came (s)."""

    from_client: bool
    payload: bytes
    length: int
    at: float


class Opening:
    """The first packets of a flow. The client is whoever was seen first to send."""

    __slots__ = ("_joined", "_latest", "_next", "client_port", "most", "packets", "proto", "server_port", "starts")

    def __init__(self, proto: int, client_port: int = 0, server_port: int = 0, *, most: int = MOST_PACKETS) -> None:
        self.proto, self.client_port, self.server_port, self.most = proto, client_port, server_port, most
        self.packets: list[Shown] = []
        self.starts = 0
        """Bit b is set if a message began with byte b: a stream's first byte in TCP, every packet's elsewhere."""
        self._joined: dict[bool, tuple[int, bytes]] = {}
        self._next: dict[bool, int] = {}
        self._latest: dict[bool, bytes] = {}

    def show(
        self, from_client: bool, payload: bytes | memoryview, now: float, length: int | None = None,
        seq: int | None = None,
    ) -> bool:  # fmt: skip
        """Add a packet, an empty one not; return whether there is room for another. A full opening stays as it is.

        `length` is the payload's true length where the capture cut it short. `seq` is TCP's sequence number: with it,
        what was shown before is left out; without it, only a segment that is the same as the one before.
        """
        if len(self.packets) >= self.most:
            return False
        if self.proto == TCP and payload:
            payload = self._unseen(from_client, payload, seq)
        if not payload:
            return True
        if self.proto != TCP or not self.has_from(from_client):
            self.starts |= 1 << payload[0]
        kept = bytes(payload[:_LONGEST_KEPT_BYTES])
        self.packets.append(Shown(from_client, kept, len(payload) if length is None else length, now))
        return len(self.packets) < self.most

    def follow(self, from_client: bool, content: bytes, now: float) -> bool:
        """Take one side's stream as far as a censor has put it together; return whether there is room for more.

        What is new in it is a packet; what a later copy has overwritten is put right; a shorter stream begins anew.
        """
        mine = [at for at, packet in enumerate(self.packets) if packet.from_client == from_client]
        begin = sum(self.packets[at].length for at in mine)
        if begin > len(content):
            self.packets = [packet for packet in self.packets if packet.from_client != from_client]
            mine, begin = [], 0
        offset = 0
        for at in mine:
            packet = self.packets[at]
            kept = content[offset : offset + len(packet.payload)]
            offset += packet.length
            if kept != packet.payload:
                self.packets[at] = replace(packet, payload=kept)
        self._joined.clear()
        if content:
            self.starts |= 1 << content[0]
        if begin < len(content) and not self.full:
            new = content[begin:]
            self.packets.append(Shown(from_client, new[:_LONGEST_KEPT_BYTES], len(new), now))
        return not self.full

    def _unseen(self, from_client: bool, payload: bytes | memoryview, seq: int | None) -> bytes | memoryview:
        """Return what a segment adds to its stream; what was lost before it can't be helped."""
        if seq is None:
            kept = bytes(payload[:_LONGEST_KEPT_BYTES])
            again = len(payload) > 1 and self._latest.get(from_client) == kept
            self._latest[from_client] = kept
            return b"" if again else payload
        behind = (self._next.get(from_client, seq) - seq) & 0xFFFFFFFF
        if behind >= _HALF_OF_SEQUENCE:
            behind = 0
        if behind <= len(payload):
            self._next[from_client] = (seq + len(payload)) & 0xFFFFFFFF
        return payload[behind:]

    @property
    def full(self) -> bool:
        """Say whether no more packets are taken."""
        return len(self.packets) >= self.most

    def has_from(self, client: bool) -> bool:
        """Say whether that side has sent data."""
        return any(packet.from_client == client for packet in self.packets)

    def of(self, client: bool) -> Iterator[Shown]:
        """Yield the packets of one side."""
        return (packet for packet in self.packets if packet.from_client == client)

    def first(self, client: bool = True) -> Shown | None:
        """Return the first packet of one side."""
        return next(self.of(client), None)

    @property
    def client_bytes(self) -> bytes:
        """The client's packets, joined up to the first one that was not kept whole."""
        return self._join(True)

    @property
    def server_bytes(self) -> bytes:
        """The server's packets, joined likewise."""
        return self._join(False)

    def stream(self, client: bool) -> bytes:
        """Return `client_bytes` or `server_bytes`."""
        return self._join(client)

    def _join(self, client: bool) -> bytes:
        count = len(self.packets)
        known = self._joined.get(client)
        if known is not None and known[0] == count:
            return known[1]
        parts: list[bytes] = []
        for packet in self.of(client):
            parts.append(packet.payload)
            if len(packet.payload) < packet.length:
                break
        joined = b"".join(parts)
        self._joined[client] = (count, joined)
        return joined
