"""Starts and stops the scenarios that the page offers, one at a time, each as the `testbed run` it is."""

from __future__ import annotations

import asyncio
import datetime
import signal
from pathlib import Path

from testbed import proc, shipped
from testbed.errors import InputError, Problem
from testbed.run.directory import RunDirectory
from testbed.scenario.load import load_scenario

_PATIENCE_S = 20.0


class Runs:
    """At most one run that was started here. `offered`: a scenario file beside what ships."""

    def __init__(self, out: Path, offered: str | None = None) -> None:
        self._out, self._offered = out, offered
        self._process: asyncio.subprocess.Process | None = None
        self._directory: RunDirectory | None = None
        self._one_at_a_time = asyncio.Lock()

    def scenarios(self) -> list[dict[str, str]]:
        """Return what can be started: its reference, its title, what it is about."""
        names = [*shipped.names("scenarios"), *([self._offered] if self._offered else [])]
        found = []
        for name in dict.fromkeys(names):
            try:
                scenario = load_scenario(name)
            except InputError:
                continue  # `testbed check` tells what is wrong with it; the page offers what works
            found.append({"name": name, "title": scenario.title, "about": scenario.about})
        return found

    @property
    def going(self) -> bool:
        """Say whether a run started here goes on: it has written no result, which it does last."""
        if self._process is None or self._directory is None or self._process.returncode is not None:
            return False
        return not self._directory.result.exists()

    async def start(self, name: str) -> RunDirectory:
        """Start a scenario and return its directory; `InputError` for one that isn't offered, or while one is going."""
        async with self._one_at_a_time:  # two browsers may ask in the same moment
            return await self._start(name)

    async def _start(self, name: str) -> RunDirectory:
        if name not in (*shipped.names("scenarios"), self._offered):
            raise InputError([Problem("scenario", f"{name!r} is not offered", "choose one from the list")])
        if self.going:
            raise InputError([Problem("scenario", "another run is going on", "stop it first")])
        scenario = load_scenario(name)
        directory = RunDirectory.create(self._out, scenario.scenario, datetime.datetime.now())
        with (directory.path.parent / f"{directory.path.name}.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *proc.module("testbed.cli.main", "run", name, "--into", str(directory.path)),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._directory = directory
        return directory

    async def ended(self) -> int | None:
        """Wait until the run that was started here is over; return its exit status, None if there is none."""
        return await self._process.wait() if self._process is not None else None

    async def stop(self) -> None:
        """End the run as Ctrl-C would, so that it writes down what it has; kill it if it doesn't listen."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
