"""A hand on a run: hold its timeline, take the next step early, end it. A control socket, polled while the run waits.

Operations: `status`; `hold`, `go`, `next`, `stop`; and `steered` with a `step`, by which whoever is about to change a
box or the link says so first. A run that was touched is no experiment any more: `reasons` says so, and the run is
judged invalid however its expectations came out.
"""

from __future__ import annotations

import json
import select
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from testbed import control

_ROUNDING_S = 1e-6
"""A pushed timeline stands on its moment as nearly as floats allow: this much before it has come too."""


class Steering:
    """The timeline's own clock, which a hand can hold or push; `elapsed` gives seconds since the run began."""

    def __init__(self, path: Path, elapsed: Callable[[], float], record: Path, about: Mapping[str, Any]) -> None:
        self._elapsed, self._record, self._about = elapsed, record, dict(about)
        self._server = control.serve(path, self._answer)
        self._behind_s = 0.0
        self._held_at: float | None = None
        self._until: float | None = None
        self._stopping = False
        self.touched: list[dict[str, Any]] = []

    def timeline_s(self) -> float:
        """Return where the timeline stands."""
        return (self._elapsed() if self._held_at is None else self._held_at) - self._behind_s

    def wait(self, until_s: float, longest_s: float) -> bool:
        """Wait for a moment of the timeline, at most `longest_s` seconds; say whether it has come.

        Raises `KeyboardInterrupt` when a hand ends the run.
        """
        self._until = until_s
        if self._held_at is None:
            longest_s = min(longest_s, max(0.0, until_s - self.timeline_s()))
        if select.select([self._server.fileno()], (), (), longest_s)[0]:
            self._server.accept_ready()
        if self._stopping:
            raise KeyboardInterrupt
        return self.timeline_s() >= until_s - _ROUNDING_S

    def took(self, step: Mapping[str, Any]) -> dict[str, Any]:
        """Write down a step as it is taken; return it with its time."""
        entry = {"t": round(self._elapsed(), 3), "step": dict(step)}
        with self._record.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        return entry

    def reasons(self) -> list[str]:
        """Return why the run proves nothing; nothing if no hand touched it."""
        if not self.touched:
            return []
        first = self.touched[0]
        words = ", ".join(f"{key} {value}" for key, value in first["step"].items() if key != "by")
        return [f"steered by hand {len(self.touched)} times, first at {first['t']:.1f} s: {words}"]

    def _touch(self, step: Mapping[str, Any]) -> None:
        self.touched.append(self.took({**step, "by": "hand"}))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = request["op"]
        if operation == "steered":
            self._touch({str(key): value for key, value in request["step"].items()})
        elif operation == "hold":
            if self._held_at is None:
                self._touch({"timeline": "held"})
                self._held_at = self._elapsed()
        elif operation == "go":
            if self._held_at is not None:
                self._behind_s += self._elapsed() - self._held_at
                self._held_at = None
                self._touch({"timeline": "released"})
        elif operation == "next":
            self._touch({"timeline": "pushed"})
            if self._until is not None:
                self._behind_s += min(0.0, self.timeline_s() - self._until)
        elif operation == "stop":
            self._stopping = True
        elif operation != "status":
            raise ValueError(f"unknown operation {operation!r}")
        return {
            **self._about, "elapsed_s": self._elapsed(), "timeline_s": self.timeline_s(),
            "held": self._held_at is not None, "touched": len(self.touched),
        }  # fmt: skip

    def close(self) -> None:
        """Stop listening."""
        self._server.close()
