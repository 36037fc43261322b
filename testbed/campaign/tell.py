"""How far a matrix is: a bar and a line an outcome on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from testbed.campaign.outcome import Outcome

if TYPE_CHECKING:
    from rich.progress import Progress


class Teller:
    """A context manager: while it lasts the bar is shown."""

    def __init__(self, title: str, todo: int, reused: int) -> None:
        self._title, self._todo, self._done = title, todo, 0
        self._bar: Progress | None = None
        if reused:
            print(f"{reused} of {todo + reused} cells as before, {todo} to run", file=sys.stderr)

    def __enter__(self) -> Teller:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._title, total=self._todo)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def tick(self, running: int, waiting: int, state: str) -> None:
        """Tell how many run and wait."""
        if self._bar is not None:
            text = f"{self._title}: {running} running, {waiting} waiting, {state}"
            self._bar.update(self._bar.task_ids[0], description=text, completed=self._done)

    def tell(self, outcome: Outcome, expected: Sequence[str]) -> None:
        """Tell how a cell ended."""
        self._done += 1
        holds = outcome.holds(expected)
        mark = "–" if holds is None else "✓" if holds else "✗"
        wanted = "" if holds is not False else f", expected {' or '.join(expected)}"
        alone = ", alone" if outcome.alone else ""
        line = f"{mark} {outcome.cell}: {outcome.word}{wanted} ({outcome.took_s:.1f} s{alone})"
        why = outcome.why[:1] if holds is not True else ()
        text = "\n".join([line, *(f"    {reason}" for reason in why)])
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(f"[{self._done}/{self._todo}] {text}", file=sys.stderr, flush=True)
