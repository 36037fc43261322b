"""One order being carried out: the verb as a child process, its run directory, its time, and the lag it lived through.

The child dies with this process, however that ends; and its sandbox dies with the child. Nothing is killed by name.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

from testbed.campaign import outcome
from testbed.campaign.gauge import Gauge
from testbed.campaign.nursery import Process, Start
from testbed.campaign.order import Order, argv_of, needs
from testbed.campaign.outcome import Outcome

_PATIENCE_S = 15.0
_LOG_TAIL_LINES, _LOG_TAIL_BYTES = 8, 4096


class Attempt:
    """An order that was started; `poll` it until it gives an outcome."""

    def __init__(
        self, order: Order, folder: Path, gauge: Gauge, start: Start, *, root: Path | None = None, alone: bool
    ) -> None:
        self.order, self.folder, self.alone = order, folder, alone
        self._gauge = gauge
        self._begun = time.monotonic()
        self._ending: float | None = None
        self._timed_out = self._is_up = False
        self._process: Process | None = None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        gauge.begin(order.cell)
        self.lacks = needs(order, root)
        if not self.lacks:
            self._process = start(argv_of(order, folder, root), folder / "log")

    @property
    def is_starting(self) -> bool:
        """Say whether its net is still coming up: its boxes don't answer yet."""
        run = self.folder / "run"
        self._is_up = self._is_up or any(
            next(run.glob(place), None) for place in ("control/gateway.sock", "*/control/gateway.sock")
        )
        return not self._is_up

    def poll(self) -> Outcome | None:
        """Return the outcome once there is one; ends a run whose time is over."""
        status = 0 if self._process is None else self._process.poll()
        now = time.monotonic()
        if status is None:
            if self._ending is None and now - self._begun > self.order.timeout_s:
                self._timed_out = True
                self.end()
            elif self._ending is not None and now - self._ending > _PATIENCE_S:
                self._kill()
            return None
        took, lag = now - self._begun, self._gauge.end(self.order.cell)
        if self.lacks:
            return Outcome(self.order.cell, "skipped", tuple(self.lacks), took_s=took, alone=self.alone)
        found = outcome.judged(self.order, status, self.folder, self._last_words())
        if self._timed_out:
            found = outcome.timed_out(self.order, found)
        return replace(found, took_s=round(took, 3), lag=lag, alone=self.alone)

    def end(self) -> None:
        """Ask it to stop; `poll` on until it has, by force if it must be."""
        if self._process is not None and self._ending is None:
            self._ending = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    def _last_words(self) -> str:
        with (self.folder / "log").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _LOG_TAIL_BYTES))
            text = stream.read().decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("$ ")]
        return "\n".join(lines[-_LOG_TAIL_LINES:])
