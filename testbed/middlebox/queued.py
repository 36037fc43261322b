"""The packets that the kernel hands to a queue, read from its messages (linux/netfilter/nfnetlink_queue.h).

The kernel writes nearly all messages alike. So the first of its kind is taken apart attribute by attribute and becomes
the model for the rest: one whose attributes have the same kinds and lengths is read at fixed places, in a third of the
time. Network byte order, netlink's own numbers in the host's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PACKET = 3 << 8
_HEADER, _STAMP, _IN_INTERFACE, _PAYLOAD = 1, 4, 5, 10
_READ = (_HEADER, _IN_INTERFACE, _STAMP, _PAYLOAD)
"""The attributes that are read, in the order in which the kernel writes them."""
_ATTRIBUTES_AT = 20
_MOST_LAYOUTS = 4
_message, _attribute = struct.Struct("=IH").unpack_from, struct.Struct("=HH").unpack_from
_number, _stamp = struct.Struct("!I").unpack_from, struct.Struct("!QQ").unpack_from
_new = tuple.__new__
Attribute = tuple[int, int, int]
"""Kind, place and length."""


class Queued(NamedTuple):
    """A packet that waits for its verdict: its id, the interface it came in by, its IP bytes, when it came.

    `arrived`: Unix time at which the kernel got it from the wire, 0 if it didn't say.
    """

    id: int
    in_interface: int
    raw: bytes
    arrived: float = 0.0


class Reader:
    """Reads datagrams of one queue."""

    def __init__(self) -> None:
        self._layouts: tuple[_Layout, ...] = ()

    def read(self, data: bytes) -> list[Queued]:
        """Return the packets of a datagram; what is broken ends it."""
        for layout in self._layouts:
            queued = layout.read(data)
            if queued is not None:
                return [queued]
        found: list[Queued] = []
        start = 0
        while start + _ATTRIBUTES_AT <= len(data):
            length, kind = _message(data, start)
            if length < _ATTRIBUTES_AT or start + length > len(data):
                break
            if kind == _PACKET:
                attributes = list(_attributes(data, start + _ATTRIBUTES_AT, start + length))
                found += _packets(data, attributes)
                if not start and [kind for kind, _, _ in attributes if kind in _READ] == list(_READ):
                    self._layouts = (_Layout(data, attributes), *self._layouts[: _MOST_LAYOUTS - 1])
            start += (length + 3) & ~3
        return found


def _attributes(data: bytes, start: int, end: int) -> Iterator[Attribute]:
    """Yield the attributes of a message up to the packet's bytes, which the kernel puts last."""
    while start + 4 <= end:
        length, kind = _attribute(data, start)
        if length < 4 or start + length > end:
            return
        yield kind & 0x7FFF, start + 4, length - 4
        if kind & 0x7FFF == _PAYLOAD:
            return
        start += (length + 3) & ~3


def _packets(data: bytes, attributes: Sequence[Attribute]) -> Iterator[Queued]:
    """Yield the packet of a message; none if it carries no bytes of one."""
    packet_id, in_interface, arrived = 0, 0, 0.0
    for kind, at, length in attributes:
        if kind == _PAYLOAD:
            yield Queued(packet_id, in_interface, data[at : at + length], arrived)
        elif kind == _HEADER:
            packet_id = _number(data, at)[0]
        elif kind == _IN_INTERFACE:
            in_interface = _number(data, at)[0]
        elif kind == _STAMP:
            seconds, micros = _stamp(data, at)
            arrived = seconds + micros * 1e-6


class _Layout:
    """Where the fields of a message stand. The kernel writes most alike, so the first of a kind is the model."""

    def __init__(self, model: bytes, attributes: Sequence[Attribute]) -> None:
        """Learn from the first message of a datagram, one that has all the attributes that are read."""
        heads = "".join(f"I{(length + 3) & ~3}x" for _, _, length in attributes[:-1])
        self._heads = struct.Struct(f"=4xH14x{heads}2xH").unpack_from
        self._model = self._heads(model)
        header, interface, stamp, self._payload_at = (at for kind, at, _ in attributes if kind in _READ)
        self._lengths = struct.Struct(f"=I{self._payload_at - 8}xH").unpack_from
        self._values = struct.Struct(f"!{header}xI{interface - header - 4}xI{stamp - interface - 4}xQQ").unpack_from

    def read(self, data: bytes) -> Queued | None:
        """Return the packet of a message that is laid out so; None if it is not, or if there is more than one."""
        if len(data) < self._payload_at or self._heads(data) != self._model:
            return None
        whole, length = self._lengths(data)
        if not whole == len(data) == self._payload_at - 4 + length:
            return None
        packet_id, interface, seconds, micros = self._values(data)
        return _new(Queued, (packet_id, interface, data[self._payload_at :], seconds + micros * 1e-6))
