"""What waits before a link: one tail-drop queue, or a queue for each flow that are served in turn. Pure.

`fair` is deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): each flow may send a quantum of bytes a round and
keeps what it did not use while it still has something to send, so that flows get equal bytes whatever the size of their
packets. When the space is used up, the last packet of the longest queue gives way (McKenney 1990, as in Linux's sfq):
one greedy flow can't push the others out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
#: as much as the largest packet, so that each visit to a flow sends at least one
_QUANTUM_BYTES = 1500


@dataclass(slots=True)
class Waiting(Generic[Item]):
    """A packet that waits: its size in IP bytes, and what chance has decided for it."""

    size: int
    item: Item
    lost: bool
    expected: float
    """The chance with which it was to be lost …"""
    variance: float
    """… and what it adds to the variance of the number lost."""
    twice: bool
    shift: float
    """Where in its jitter it falls, from -1 to 1."""


class Discipline(Protocol[Item]):
    """What `LinkModel` asks of a queue; `held` is the sum of the sizes of what waits."""

    held: int

    def push(self, packet: Waiting[Item], flow: Hashable, limit_bytes: float) -> Waiting[Item] | None:
        """Take a packet; return the one that is dropped for it (it may be the same), None if there was room."""
        ...

    def pop(self) -> Waiting[Item] | None:
        """Return the packet to send next, None if nothing waits."""
        ...


class TailDrop(Generic[Item]):
    """First come, first served; a packet that finds no room is dropped."""

    def __init__(self) -> None:
        self.held = 0
        self._packets: deque[Waiting[Item]] = deque()

    def push(self, packet: Waiting[Item], flow: Hashable, limit_bytes: float) -> Waiting[Item] | None:
        """See `Discipline`."""
        if self._packets and self.held + packet.size > limit_bytes:
            return packet
        self._packets.append(packet)
        self.held += packet.size
        return None

    def pop(self) -> Waiting[Item] | None:
        """See `Discipline`."""
        if not self._packets:
            return None
        packet = self._packets.popleft()
        self.held -= packet.size
        return packet


@dataclass(slots=True)
class _Flow(Generic[Item]):
    packets: deque[Waiting[Item]]
    held: int
    deficit: int


class Fair(Generic[Item]):
    """A queue for each flow, served in turn."""

    def __init__(self) -> None:
        self.held = 0
        self._flows: dict[Hashable, _Flow[Item]] = {}
        self._round: deque[Hashable] = deque()

    def push(self, packet: Waiting[Item], flow: Hashable, limit_bytes: float) -> Waiting[Item] | None:
        """See `Discipline`."""
        own = self._flows.get(flow)
        if own is None:
            own = self._flows[flow] = _Flow(deque(), 0, _QUANTUM_BYTES)
            self._round.append(flow)
        own.packets.append(packet)
        own.held += packet.size
        self.held += packet.size
        if self.held <= limit_bytes or self.held == packet.size:
            return None
        return self._give_way()

    def _give_way(self) -> Waiting[Item]:
        """Drop the last packet of the longest queue; of equals, the one whose turn is last."""
        longest = max(reversed(self._round), key=lambda flow: self._flows[flow].held)
        flow = self._flows[longest]
        dropped = flow.packets.pop()
        flow.held -= dropped.size
        self.held -= dropped.size
        if not flow.packets:
            del self._flows[longest]
            self._round.remove(longest)
        return dropped

    def pop(self) -> Waiting[Item] | None:
        """See `Discipline`."""
        while self._round:
            flow = self._flows[self._round[0]]
            packet = flow.packets[0]
            if packet.size > flow.deficit:
                flow.deficit += _QUANTUM_BYTES
                self._round.rotate(-1)
                continue
            flow.packets.popleft()
            flow.deficit -= packet.size
            flow.held -= packet.size
            self.held -= packet.size
            if not flow.packets:
                del self._flows[self._round.popleft()]
            return packet
        return None
