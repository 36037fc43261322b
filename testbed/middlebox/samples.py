"""The state of a link ten times a second, as JSON lines, from which reports and the live page draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

EVERY_S = 0.1

State = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Of each direction, up and down: `rate_bps` in force (None: unlimited), `delay_s`, `queue_bytes` that wait now, and
since the start the packets that `entered`, were `lost`, `overflowed`, `arrived`, and `arrived_bytes`."""


class Samples:
    """A file of samples: seconds since the run began, and the state of both directions."""

    def __init__(self, path: Path) -> None:
        self._open = ExitStack()
        self._file = self._open.enter_context(path.open("a", encoding="utf-8", buffering=1))
        self._next = 0.0

    def take(self, now: float, epoch: float, state: Callable[[float], State]) -> None:
        """Write a sample if it is time for one."""
        if now >= self._next:
            self._next = now + EVERY_S
            up, down = state(now)
            self._file.write(json.dumps({"t": round(now - epoch, 3), "up": up, "down": down}) + "\n")

    def hurry(self) -> None:
        """Take the next sample at once: who changed the link wants to see it."""
        self._next = 0.0

    def restart(self) -> None:
        """Forget what was before the run began."""
        self._file.truncate(0)
        self.hurry()

    def close(self) -> None:
        """Close the file."""
        self._open.close()
