"""The clock of a run: the only place where a run reads the time.

All processes of a run share the machine's monotonic clock, so an offset from the run's start means the same instant in
the box, the link and the apps. The censor sees Unix seconds counted from the time of day that the scenario names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunClock:
    """`t0`: monotonic seconds at the start of the run. `epoch`: the Unix time that start stands for."""

    t0: float
    epoch: float

    @classmethod
    def start(cls, epoch: float | None = None) -> RunClock:
        """Start now; without `epoch` the emulated time is the machine's."""
        return cls(time.monotonic(), time.time() if epoch is None else epoch)

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.t0

    def wall_start(self) -> float:
        """Return the machine's own Unix time at the start, by which captures are stamped; after a leap it is off."""
        return time.time() - self.elapsed()
