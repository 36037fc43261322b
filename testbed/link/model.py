"""One direction of a link as a pure function with state: packets and the time go in, departures come out.

A packet waits in a tail-drop queue, is sent at the rate (size × 8 / rate seconds on the wire, one after the other),
may be lost on the way, and arrives a delay later. Chance comes from a seeded generator of our own (splitmix64, Steele
et al. 2014), drawn in a fixed order, so that the same packets at the same times always meet the same fate.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from testbed.link.spec import DirectionSpec

Item = TypeVar("Item")
_DAY_S = 86400.0


class Dropped(Enum):
    """Why a packet will not arrive."""

    QUEUE_FULL = "queue full"
    LOST = "lost"


class Chance:
    """A stream of numbers in [0, 1) from a seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed & 0xFFFFFFFFFFFFFFFF

    def draw(self) -> float:
        """Return the next number."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = self._state
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return ((mixed ^ mixed >> 31) >> 11) / 9007199254740992.0


@dataclass(order=True, slots=True)
class _Arrival(Generic[Item]):
    due: float
    order: int
    item: Item


@dataclass(slots=True)
class Counters:
    """What happened to the packets so far; sizes in IP bytes."""

    entered: int = 0
    lost: int = 0
    overflowed: int = 0
    duplicated: int = 0
    left: int = 0
    left_bytes: int = 0


class LinkModel(Generic[Item]):
    """One direction. Times are Unix seconds; the time of day is theirs in UTC."""

    def __init__(self, spec: DirectionSpec, *, seed: int) -> None:
        self.spec = spec
        self.counters = Counters()
        self._chance = Chance(seed)
        self._bad_state = False
        self._busy_until = 0.0
        self._waiting: deque[tuple[float, int]] = deque()
        self._waiting_bytes = 0
        self._arrivals: list[_Arrival[Item]] = []
        self._order = 0
        self._last_due = 0.0

    def change(self, spec: DirectionSpec, now: float) -> None:
        """Take other values for the packets that come from now on; those on their way keep theirs."""
        self.spec = spec

    def enqueue(self, size: int, item: Item, now: float) -> Dropped | None:
        """Take a packet of `size` IP bytes; return why it is dropped, None if it will arrive."""
        self.counters.entered += 1
        spec, hours = self.spec, self.spec.hours(now % _DAY_S)
        rate = hours.rate if hours is not None and hours.rate is not None else spec.rate
        while self._waiting and self._waiting[0][0] <= now:
            self._waiting_bytes -= self._waiting.popleft()[1]
        lost = self._is_lost(spec, hours.loss if hours is not None and hours.loss is not None else spec.loss)
        twice = spec.duplicate > 0 and self._chance.draw() < spec.duplicate
        shift = (self._chance.draw() * 2 - 1) * spec.jitter if spec.jitter else 0.0
        sent = now
        if rate is not None:
            if self._waiting and self._waiting_bytes + size > max(spec.queue.limit_bytes(rate), size):
                self.counters.overflowed += 1
                return Dropped.QUEUE_FULL
            start = max(now, self._busy_until)
            sent = self._busy_until = start + size * 8 / rate
            self._waiting.append((start, size))
            self._waiting_bytes += size
        if lost:
            self.counters.lost += 1
            return Dropped.LOST
        due = sent + spec.delay + shift
        if not spec.reorder:
            due = self._last_due = max(due, self._last_due)
        for _ in range(1 + twice):
            self._order += 1
            heapq.heappush(self._arrivals, _Arrival(due, self._order, item))
        self.counters.duplicated += twice
        self.counters.left += 1 + twice
        self.counters.left_bytes += size * (1 + twice)
        return None

    def _is_lost(self, spec: DirectionSpec, loss: float) -> bool:
        if spec.bursts is not None:
            turn = spec.bursts.r if self._bad_state else spec.bursts.p
            if self._chance.draw() < turn:
                self._bad_state = not self._bad_state
            loss = spec.bursts.bad if self._bad_state else spec.bursts.good
        return loss > 0 and self._chance.draw() < loss

    def due(self, now: float) -> list[tuple[float, Item]]:
        """Return the packets that have arrived by now, in order, each with the moment it was due."""
        found: list[tuple[float, Item]] = []
        while self._arrivals and self._arrivals[0].due <= now:
            arrival = heapq.heappop(self._arrivals)
            found.append((arrival.due, arrival.item))
        return found

    def next_due(self) -> float | None:
        """Return when the next packet arrives, None if none is on its way."""
        return self._arrivals[0].due if self._arrivals else None

    def waiting_bytes(self, now: float) -> int:
        """Return how many bytes wait to be sent."""
        return sum(size for start, size in self._waiting if start > now)
