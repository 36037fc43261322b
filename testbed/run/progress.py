"""How far a run is: a bar on a terminal, a plain line a step elsewhere; always on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """Tells people what a run of `duration_s` seconds is doing. `start`, then `tick` and `say`, then `close`."""

    def __init__(self, title: str, duration_s: float, stream: TextIO | None = None) -> None:
        self._title, self._duration_s = title, duration_s
        self._stream = sys.stderr if stream is None else stream
        self._bar: Bar | None = None

    def start(self) -> None:
        """Show the bar, if somebody watches."""
        if not self._stream.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} s"))
        console = Console(file=self._stream)
        self._bar = Bar(*columns, TimeRemainingColumn(), console=console, transient=True, auto_refresh=False)
        self._bar.start()
        self._bar.add_task(self._title, total=self._duration_s)

    def tick(self, timeline_s: float) -> None:
        """Move the bar to where the timeline stands."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=timeline_s, refresh=True)

    def say(self, elapsed_s: float, what: str) -> None:
        """Tell a step."""
        line = f"{elapsed_s:6.1f} s  {what}"
        if self._bar is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
