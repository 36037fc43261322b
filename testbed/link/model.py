"""One direction of a link as a pure function with state: packets and the time go in, departures come out.

A packet waits in the queue (`link.queue`), is sent at the rate (size × 8 / rate seconds on the wire, one after the
other; when the rate changes half-way, the rest goes at the new one), may be lost on the way, and arrives a delay later.
Everything that the model does between two calls happens at its exact time: `enqueue` and `due` first bring it up to
their `now`, so that a caller who comes late gets the same answers, only later.

Chance comes from seeded generators of our own (splitmix64: Steele, Lea and Flood, OOPSLA 2014), one for each purpose
and drawn as packets come, so that the same packets at the same times always meet the same fate, and a change of the
jitter doesn't change which packets are lost.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from testbed.link.queue import Discipline, Fair, TailDrop, Waiting
from testbed.link.spec import DAY_S, DirectionSpec

Item = TypeVar("Item")
_MASK = 0xFFFFFFFFFFFFFFFF


class Dropped(Enum):
    """Why a packet will not arrive."""

    QUEUE_FULL = "queue full"
    LOST = "lost"


class Chance:
    """A stream of numbers in [0, 1) from a seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def draw(self) -> float:
        """Return the next number."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ mixed >> 31) >> 11) / 9007199254740992.0


@dataclass(slots=True)
class Counters:
    """What happened to the packets so far; sizes in IP bytes."""

    entered: int = 0
    overflowed: int = 0
    lost: int = 0
    lost_expected: float = 0.0
    """How many of the packets that were sent were asked to be lost, on average …"""
    lost_variance: float = 0.0
    """… and the variance of that number."""
    duplicated: int = 0
    left: int = 0
    left_bytes: int = 0


class LinkModel(Generic[Item]):
    """One direction. Times are Unix seconds; the time of day is theirs in UTC."""

    def __init__(self, spec: DirectionSpec, *, seed: int) -> None:
        self.spec = spec
        self.counters = Counters()
        source = Chance(seed)
        self._losing, self._doubling, self._shifting = (Chance(int(source.draw() * 2**53)) for _ in range(3))
        self._bad_state = False
        self._queue: Discipline[Item] = Fair() if spec.queue.fair else TailDrop()
        self._sending: Waiting[Item] | None = None
        self._sent = -math.inf
        """When the packet on the wire will have been sent; when none is, when the last one was."""
        self._arrivals: list[tuple[float, int, Item]] = []
        self._order = 0
        self._last_due = -math.inf

    def change(self, spec: DirectionSpec, now: float) -> None:
        """Take other values from now on: for the rest of the packet on the wire, for what waits and for what comes.

        Packets that were sent keep their delay.
        """
        self._advance(now)
        if self._sending is not None:
            bits = self._bits_between(now, self._sent)
            self.spec = spec
            self._sent = self._end_of(now, bits)
        self.spec = spec
        if spec.queue.fair != isinstance(self._queue, Fair):
            old, self._queue = self._queue, Fair() if spec.queue.fair else TailDrop()
            while (packet := old.pop()) is not None:  # they came unnamed: one flow
                self._queue.push(packet, None, math.inf)

    def enqueue(self, size: int, item: Item, now: float, flow: Hashable = None) -> Dropped | None:
        """Take a packet of `size` IP bytes; return why it is dropped, None if it will arrive.

        With a fair queue it may still have to give way to a packet of another `flow` later.
        """
        self._advance(now)
        self.counters.entered += 1
        spec = self.spec
        lost, expected, variance = self._fate(spec, now)
        twice = spec.duplicate > 0 and self._doubling.draw() < spec.duplicate
        shift = self._shifting.draw() * 2 - 1 if spec.jitter else 0.0
        packet = Waiting(size, item, lost, expected, variance, twice, shift)
        if self._sending is None:
            self._send(packet, now)
        else:
            rate = spec.rate_at(now)
            limit = math.inf if rate is None else spec.queue.limit_bytes(rate)
            dropped = self._queue.push(packet, flow, limit)
            self.counters.overflowed += dropped is not None
            if dropped is packet:
                return Dropped.QUEUE_FULL
        return Dropped.LOST if lost else None

    def _fate(self, spec: DirectionSpec, now: float) -> tuple[bool, float, float]:
        """Return whether a packet will be lost, with which chance that was asked, and the variance."""
        hours = spec.hours(now % DAY_S) if spec.by_clock else None
        if hours is not None and hours.loss is not None:
            loss = hours.loss
        elif spec.bursts is not None:
            bursts = spec.bursts
            if self._losing.draw() < (bursts.r if self._bad_state else bursts.p):
                self._bad_state = not self._bad_state
            chance = bursts.bad if self._bad_state else bursts.good
            return self._losing.draw() < chance, bursts.mean, bursts.variance
        else:
            loss = spec.loss
        return loss > 0 and self._losing.draw() < loss, loss, loss * (1 - loss)

    def _advance(self, now: float) -> None:
        """Let everything happen that happens until `now`."""
        while self._sending is not None and self._sent <= now:
            self._leave(self._sending, self._sent)
            self._sending = self._queue.pop()
            if self._sending is not None:
                self._send(self._sending, self._sent)

    def _send(self, packet: Waiting[Item], now: float) -> None:
        self._sending = packet
        self._sent = self._end_of(max(now, self._sent), packet.size * 8)

    def _end_of(self, start: float, bits: float) -> float:
        """Return when so many bits are sent, whatever the clock does to the rate meanwhile."""
        while True:
            rate = self.spec.rate_at(start)
            if rate is None:
                return start
            turn = self.spec.next_turn(start)
            if start + bits / rate <= turn:
                return start + bits / rate
            bits -= (turn - start) * rate
            start = turn

    def _bits_between(self, start: float, end: float) -> float:
        """Return how many bits are sent between two moments."""
        bits = 0.0
        while start < end and (rate := self.spec.rate_at(start)) is not None:
            turn = min(end, self.spec.next_turn(start))
            bits += (turn - start) * rate
            start = turn
        return bits

    def _leave(self, packet: Waiting[Item], sent: float) -> None:
        self.counters.lost_expected += packet.expected
        self.counters.lost_variance += packet.variance
        if packet.lost:
            self.counters.lost += 1
            return
        spec = self.spec
        due = sent + spec.delay + packet.shift * spec.jitter
        if not spec.reorder:
            due = self._last_due = max(due, self._last_due)
        for _ in range(1 + packet.twice):
            self._order += 1
            heapq.heappush(self._arrivals, (due, self._order, packet.item))
        self.counters.duplicated += packet.twice
        self.counters.left += 1 + packet.twice
        self.counters.left_bytes += packet.size * (1 + packet.twice)

    def due(self, now: float) -> list[tuple[float, Item]]:
        """Return the packets that have arrived by now, in order, each with the moment it was due."""
        self._advance(now)
        found: list[tuple[float, Item]] = []
        while self._arrivals and self._arrivals[0][0] <= now:
            when, _, item = heapq.heappop(self._arrivals)
            found.append((when, item))
        return found

    def next_due(self) -> float | None:
        """Return the earliest moment at which something may arrive, None if nothing is on its way.

        Call `due` then, and ask again: the packet on the wire may still come later than its jitter allows.
        """
        first = self._arrivals[0][0] if self._arrivals else math.inf
        if self._sending is not None:
            first = min(first, self._sent + self.spec.delay - self.spec.jitter)
        return first if first < math.inf else None

    def waiting_bytes(self, now: float) -> int:
        """Return how many bytes wait to be sent, the packet on the wire not counted."""
        self._advance(now)
        return self._queue.held
