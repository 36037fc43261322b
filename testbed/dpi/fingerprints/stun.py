"""STUN and TURN: RFC 8489 and 5389 (magic cookie), RFC 3489 (classic, without), RFC 8656 (TURN, ChannelData).

A message fits if its length field, its attributes and the datagram end together. Over TCP messages follow each other
in the stream, or stand behind a 16-bit length (RFC 4571, RFC 6544).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.dpi.fingerprints.opening import TCP, Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

MAGIC = bytes.fromhex("2112a442")
_HEADER_BYTES = 20
_METHODS = {1: "binding", 2: "shared secret", 3: "allocate", 4: "refresh", 6: "send", 7: "data",
            8: "create permission", 9: "channel bind", 10: "connect", 11: "connection bind"}  # fmt: skip
_TURN_METHODS = range(3, 12)
_CLASSIC_TYPES = frozenset({0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112})
_CLASSIC_ATTRIBUTES = frozenset({*range(1, 12), 0x0020, 0x8020, 0x8022, 0x8023, 0x8028})
_FEWEST_OTHER_BYTES = 4
"""A classic transaction id is 16 random bytes; one of zeros is another protocol's."""
_CHANNELS = range(0x40, 0x50)
_ENOUGH_CHANNEL_PACKETS = 3


@dataclass(frozen=True, slots=True)
class Message:
    """A STUN message: its type, class and method bits apart, and its attributes in order."""

    type: int
    magic: bool
    attributes: tuple[tuple[int, bytes], ...]

    @property
    def method(self) -> int:
        """Return the method: 1 is Binding, 3 Allocate (RFC 8489 §5)."""
        return self.type & 0x000F | self.type >> 1 & 0x0070 | self.type >> 2 & 0x0F80


def messages(opening: Opening) -> Iterator[Message]:
    """Yield the STUN messages of a flow in the order they were shown."""
    if opening.proto == TCP:
        yield from (found for client in (True, False) for found in _of_stream(opening.stream(client)))
        return
    for packet in opening.packets:
        if packet.payload[0] < 0x40 and (found := parse(packet.payload, packet.length)) is not None:
            yield found


def _of_stream(stream: bytes) -> Iterator[Message]:
    offset = 0
    while offset + _HEADER_BYTES <= len(stream):
        if stream[offset + 4 : offset + 8] != MAGIC and stream[offset + 6 : offset + 10] == MAGIC:
            offset += 2
        size = _HEADER_BYTES + int.from_bytes(stream[offset + 2 : offset + 4], "big")
        found = parse(stream[offset : offset + size], size)
        if found is None or not found.magic:
            return
        yield found
        offset += size


def parse(payload: bytes, length: int) -> Message | None:
    """Read a whole STUN message, None if it is none. One cut short by the capture is read as far as it goes."""
    if len(payload) < _HEADER_BYTES or payload[0] >= 0x40:
        return None
    kind, size = struct.unpack_from("!HH", payload)
    magic = payload[4:8] == MAGIC
    if size + _HEADER_BYTES != length or (size % 4 and magic):
        return None
    if not magic and (kind not in _CLASSIC_TYPES or len(set(payload[4:20])) < _FEWEST_OTHER_BYTES):
        return None
    attributes = _attributes(payload, magic)
    if attributes is None or not (magic or all(number in _CLASSIC_ATTRIBUTES for number, _ in attributes)):
        return None
    return Message(kind, magic, attributes)


def _attributes(payload: bytes, padded: bool) -> tuple[tuple[int, bytes], ...] | None:
    found: list[tuple[int, bytes]] = []
    offset = _HEADER_BYTES
    while offset + 4 <= len(payload):
        kind, size = struct.unpack_from("!HH", payload, offset)
        found.append((kind, payload[offset + 4 : offset + 4 + size]))
        offset += 4 + (size + 3 & ~3 if padded else size)
    return tuple(found) if offset >= len(payload) and offset - len(payload) < 4 else None


def stun(opening: Opening) -> Answer:
    """Recognise a STUN message."""
    for message in messages(opening):
        name = _METHODS.get(message.method, f"{message.method:#05x}")
        return {"type": f"{message.type:04x}", "method": name, "magic_cookie": message.magic}
    return _stream_may_grow(opening)


def turn(opening: Opening) -> Answer:
    """Recognise a TURN request, or three ChannelData messages of one channel."""
    waiting = False
    for message in messages(opening):
        waiting = True
        if message.magic and message.method in _TURN_METHODS:
            return {"type": f"{message.type:04x}", "method": _METHODS.get(message.method, hex(message.method))}
    if opening.proto == TCP:
        return UNDECIDED if waiting else _stream_may_grow(opening)
    channels = [packet.payload[:2] for packet in opening.packets if _is_channel_data(packet.payload, packet.length)]
    for channel in set(channels):
        if channels.count(channel) >= _ENOUGH_CHANNEL_PACKETS:
            return {"channel": channel.hex(), "packets": channels.count(channel)}
    return UNDECIDED if waiting or channels else None


def _is_channel_data(payload: bytes, length: int) -> bool:
    if len(payload) < 4 or payload[0] not in _CHANNELS:
        return False
    size = int.from_bytes(payload[2:4], "big")
    return size > 0 and length - 4 - size in range(4) and not any(payload[4 + size : length])


def _stream_may_grow(opening: Opening) -> Answer:
    stream = opening.client_bytes if opening.proto == TCP else b""
    short = 0 < len(stream) < 10 and stream[0] < 0x40
    return UNDECIDED if short and any(MAGIC.startswith(stream[at : at + 4]) for at in (4, 6)) else None
