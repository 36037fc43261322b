"""One run, many browsers: the run is looked at once, each change is encoded once, every browser gets the same bytes.

A browser that reads too slowly loses its queue and gets a fresh snapshot instead, so that it never slows the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from testbed.dashboard.state import View
from testbed.dashboard.watch import Watcher
from testbed.run.directory import RunDirectory

TICK_S = 0.2
_QUEUED = 50
_QUIET_S = 10.0
_IDLE: dict[str, Any] = {"run": {"state": "idle"}}


def _event(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'), ensure_ascii=False)}\n\n".encode()


class Hub:
    """The run that is shown, None before the first, and the browsers that look at it."""

    def __init__(self) -> None:
        self.directory: RunDirectory | None = None
        self._watcher: Watcher | None = None
        self._view: View | None = None
        self._browsers: set[asyncio.Queue[bytes | None]] = set()
        self._soon = asyncio.Event()
        self._lost = ""
        self._closed = False

    @property
    def browsers(self) -> int:
        """How many browsers look."""
        return len(self._browsers)

    def show(self, directory: RunDirectory) -> None:
        """Show a run from now on."""
        self.directory, self._watcher, self._view = directory, Watcher(directory), None
        self._lost = ""
        self._tell(_event("snapshot", self.snapshot()))

    def snapshot(self) -> dict[str, Any]:
        """Return what a browser that comes needs."""
        if self._view is not None:
            return self._view.snapshot()
        if self.directory is None:
            return _IDLE
        run = {"state": "failed", "why": [self._lost]} if self._lost else {"state": "starting"}
        return {"about": {"name": self.directory.path.name}, "run": run}

    def ended(self, directory: RunDirectory, why: str) -> None:
        """Say that a run is over, and why if it left no result."""
        if directory != self.directory or directory.result.exists():
            return
        self._lost = why
        if self._view is not None:
            self._view.see("run", {"state": "failed", "why": [why]})
        self._tell(_event("snapshot", self.snapshot()))

    async def watch(self) -> None:
        """Look at the run until cancelled."""
        while True:
            # not wait_for: up to Python 3.11 it swallows a cancellation that comes together with the event
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._soon.wait()
            self._soon.clear()
            await self._look()

    def look_soon(self) -> None:
        """Look at once: something was changed."""
        if self._watcher is not None:
            self._watcher.ask_soon()
        self._soon.set()

    async def _look(self) -> None:
        watcher = self._watcher
        if watcher is None:
            return
        if self._view is None:
            view = watcher.view()
            if view is None:
                return
            self._view = view
            await self._catch_up(watcher, view)
            view.changes()  # all in the snapshot
            self._tell(_event("snapshot", view.snapshot()))
            return
        await self._catch_up(watcher, self._view)
        changes = self._view.changes()
        if changes is not None and watcher is self._watcher:
            self._tell(_event("changes", changes))

    async def _catch_up(self, watcher: Watcher, view: View) -> None:
        for kind, record in await asyncio.to_thread(watcher.poll):
            view.see(kind, record)

    def _tell(self, event: bytes) -> None:
        for queue in self._browsers:
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    def close(self) -> None:
        """Let every browser's stream end: the page is about to go."""
        self._closed = True
        for queue in self._browsers:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield a browser's events: a snapshot, then changes, and a comment now and then to keep the line open."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED)
        self._browsers.add(queue)
        try:
            yield b"retry: 1000\n\n" + _event("snapshot", self.snapshot())
            while not self._closed:
                try:
                    async with asyncio.timeout(_QUIET_S):
                        event = await queue.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                yield event if event is not None else _event("snapshot", self.snapshot())
        finally:
            self._browsers.discard(queue)
