"""The machine's lag and memory, measured: a thread that sleeps a hundredth of a second and sees how much too long.

What it sees is what a run's packet processes meet: they, too, sleep most of the time and must be woken in time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from testbed.campaign.pace import DISTURBED_S, Lag, Load

_SLEEP_S, _SWITCH_S, _KEPT = 0.01, 0.0005, 1000
_SPARE_SHARE, _SPARE_LEAST = 0.05, 256 << 20


class Gauge:
    """A context manager, inside which the lag is watched."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._wakings = self._late = 0
        self._over = threading.Event()
        self._spans: dict[str, tuple[int, int, float]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="lag", daemon=True)

    def __enter__(self) -> Gauge:
        sys.setswitchinterval(_SWITCH_S)  # else its own process keeps it waiting for 5 ms, and that is no lag
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            due = time.monotonic() + _SLEEP_S
            time.sleep(_SLEEP_S)
            now = time.monotonic()
            lag = now - due
            with self._lock:
                self._wakings += 1
                self._late += lag > DISTURBED_S
                self._spans = {name: (w, late, max(worst, lag)) for name, (w, late, worst) in self._spans.items()}
            self._seen.append((now, lag))

    def drain(self) -> Iterator[tuple[float, float]]:
        """Yield the wakings since the last call: when, and how late, in seconds."""
        while self._seen:
            yield self._seen.popleft()

    def begin(self, name: str) -> None:
        """Begin to watch over a span of time."""
        with self._lock:
            self._spans[name] = (self._wakings, self._late, 0.0)

    def end(self, name: str) -> Lag:
        """Return how a span went, and forget it."""
        with self._lock:
            wakings, late, worst = self._spans.pop(name)
            return Lag(self._wakings - wakings, self._late - late, worst)


def load() -> Load:
    """Return what the machine has: the cores this process may use, and its memory."""
    sizes = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(sizes[key].split()[0]) << 10 for key in ("MemTotal", "MemAvailable"))
    return Load(len(os.sched_getaffinity(0)), free, max(_SPARE_LEAST, int(total * _SPARE_SHARE)))
