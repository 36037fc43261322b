"""How many runs go side by side: as many as the machine carries faithfully, found out while they run. Pure.

What disturbs a run is that its processes are woken late. So lateness is what is watched, by a clock that sleeps and
sees how much too long (`lag`): a new run is started only while lag is small, and two start-ups a core at a time,
since coming up is what costs a run most. Each handful of starts is a question to the machine, and lag its answer.

A run that load has spoilt halves the number allowed, as a lost packet does TCP's window; each run that ends well then
allows one more. Such a run is repeated alone when all others are done; what is invalid alone stays invalid.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

#: No run is started while in the last second one waking in twenty was later than this, or any later than that.
#: A link may be late by 5 ms at p99 and by 50 ms at worst (`link.fidelity`); this keeps away from both.
OFTEN_LATE_S, EVER_LATE_S = 0.003, 0.025
#: A run is disturbed if more of its wakings than this share were later than a box may be (`run.gate`).
DISTURBED_S, DISTURBED_SHARE, FEW = 0.050, 0.01, 3
#: A start-up computes half of its time and waits for others' answers in the rest.
STARTS_A_CORE = 2
_WINDOW_S = 1.0
_OFTEN = 0.95


@dataclass(frozen=True, slots=True)
class Load:
    """The state of the machine: cores, and the bytes of memory that are free and that must stay so."""

    cores: int
    free_bytes: int
    spare_bytes: int


@dataclass
class Pace:
    """Decides when another run may start. `most`: never more side by side than this; 0 for no bound."""

    most: int = 0
    _limit: float = field(init=False, default=math.inf)
    _lags: deque[tuple[float, float]] = field(init=False, default_factory=deque)

    def woke(self, now: float, lag_s: float) -> None:
        """Take note of a waking and of how late it was."""
        self._lags.append((now, lag_s))
        while self._lags[0][0] < now - _WINDOW_S:
            self._lags.popleft()

    @property
    def limit(self) -> float:
        """How many may run side by side."""
        return min(self._limit, self.most or math.inf)

    def may_start(self, running: int, starting: int, load: Load) -> bool:
        """Say whether another run may start beside those that run, of which some are still coming up."""
        if running == 0:
            return True  # whatever else the machine does, one run at a time is the least it can be asked
        if running >= self.limit or starting >= STARTS_A_CORE * load.cores or load.free_bytes < load.spare_bytes:
            return False
        return self.is_calm()

    def is_calm(self) -> bool:
        """Say whether lag was small in the last second."""
        return self.often_s <= OFTEN_LATE_S and max((lag for _, lag in self._lags), default=0.0) <= EVER_LATE_S

    @property
    def often_s(self) -> float:
        """By how much one waking in twenty of the last second was late, or more."""
        lags = sorted(lag for _, lag in self._lags)
        return lags[int(_OFTEN * (len(lags) - 1))] if lags else 0.0

    def ended_well(self) -> None:
        """A run came to its end undisturbed."""
        self._limit += 1

    def was_spoilt(self, running: int) -> None:
        """A run that had others beside it was spoilt by load; `running` counts it."""
        self._limit = max(1.0, min(self._limit, running) / 2)


@dataclass(frozen=True, slots=True)
class Lag:
    """How a span of time went: wakings, those later than a box may be, and the latest of them in seconds."""

    wakings: int = 0
    late: int = 0
    worst_s: float = 0.0

    @property
    def disturbed(self) -> bool:
        """Say whether what was measured in that time may be the machine's doing."""
        return self.late > max(FEW, DISTURBED_SHARE * self.wakings)
