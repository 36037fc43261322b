"""Who carries orders out. A crew is given orders while it has room, and gives outcomes back as they come."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

from testbed.campaign.attempt import Attempt
from testbed.campaign.gauge import Gauge, load
from testbed.campaign.nursery import Nursery
from testbed.campaign.order import Order
from testbed.campaign.outcome import Outcome
from testbed.campaign.pace import Pace

_TICK_S = 0.05


class Crew(Protocol):
    """The hands of a campaign."""

    @property
    def busy(self) -> int:
        """How many orders are being carried out."""
        ...

    @property
    def state(self) -> str:
        """What people are told beside the number of runs."""
        ...

    def has_room(self) -> bool:
        """Say whether another order may be given."""
        ...

    def start(self, order: Order, *, alone: bool) -> None:
        """Begin an order; with `alone` nothing else is being carried out until it ends."""
        ...

    def ended(self) -> list[Outcome]:
        """Return the outcomes that came since the last call, waiting a moment for one."""
        ...

    def cancel(self) -> None:
        """End what is being carried out and wait until nothing is left of it."""
        ...


class LocalCrew:
    """Runs side by side on this machine, as many as it carries faithfully. A context manager."""

    def __init__(self, cells: Path, most: int = 0) -> None:
        self._cells = cells
        self._pace = Pace(most)
        self._gauge = Gauge()
        self._nursery = Nursery()
        self._attempts: dict[str, Attempt] = {}

    def __enter__(self) -> LocalCrew:
        self._nursery.__enter__()
        self._gauge.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        self._gauge.__exit__(kind, error, traceback)
        self._nursery.__exit__(kind, error, traceback)

    @property
    def busy(self) -> int:
        """How many runs there are."""
        return len(self._attempts)

    @property
    def state(self) -> str:
        """How late the machine wakes whom it should."""
        return f"lag {self._pace.often_s * 1e3:.1f} ms"

    def has_room(self) -> bool:
        """Say whether the machine carries one more."""
        self._listen()
        starting = sum(attempt.is_starting for attempt in self._attempts.values())
        return self._pace.may_start(self.busy, starting, load())

    def _listen(self) -> None:
        for now, lag in self._gauge.drain():
            self._pace.woke(now, lag)

    def start(self, order: Order, *, alone: bool) -> None:
        """Start a run."""
        folder = self._cells / order.cell
        self._attempts[order.cell] = Attempt(order, folder, self._gauge, self._nursery.start, alone=alone)

    def ended(self) -> list[Outcome]:
        """Return what has ended; the pace learns from it."""
        time.sleep(_TICK_S)
        self._listen()
        running = self.busy
        found = _poll(self._attempts)
        for outcome in found:
            if outcome.alone or not (outcome.word == "invalid" or outcome.lag.disturbed):
                self._pace.ended_well()
            else:
                self._pace.was_spoilt(running)
        return found

    def cancel(self) -> None:
        """End every run, by force if it doesn't hear."""
        for attempt in self._attempts.values():
            attempt.end()
        while self._attempts:
            _poll(self._attempts)
            time.sleep(_TICK_S)


def _poll(attempts: dict[str, Attempt]) -> list[Outcome]:
    """Return the outcomes of attempts that are over and drop them from the mapping."""
    polled: Mapping[str, Outcome | None] = {name: attempt.poll() for name, attempt in attempts.items()}
    found = [outcome for outcome in polled.values() if outcome is not None]
    for outcome in found:
        del attempts[outcome.cell]
    return found
