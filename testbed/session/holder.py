"""The sandbox as its owner has it: started, asked over its control socket, ended. What it does inside is `run.held`."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed import control, proc
from testbed.errors import TestbedError, UnfaithfulError, from_data
from testbed.net import sandbox
from testbed.run.directory import RunDirectory

_START_S, _END_S = 90.0, 30.0


class Holder:
    """One sandbox with a country in it; `about` is what the country said of itself when it was up."""

    def __init__(self, job: Mapping[str, Any], folder: Path) -> None:
        self.directory = RunDirectory.prepared(folder)
        self._log = self.directory.log("session")
        work = self.directory.path / "work"
        path = work / "job.json"
        # its programs are started in a folder without modules that could stand before the testbed's own
        whole = {**job, "verb": "hold", "json": True, "cwd": str(work)}
        path.write_text(json.dumps(whole), encoding="utf-8")
        argv = proc.module("testbed.run.live", str(path))
        self._process = sandbox.start(argv, run_dir=self.directory.path, log_path=self._log)
        try:
            self.about = self._await()
        except BaseException:
            self.kill()
            raise

    def _await(self) -> dict[str, Any]:
        """Wait for the one line that the country says: what it is, or why it isn't."""
        assert self._process.stdout is not None
        deadline, said = time.monotonic() + _START_S, b""
        while not said.endswith(b"\n"):
            if not select.select([self._process.stdout], (), (), max(0.0, deadline - time.monotonic()))[0]:
                raise TestbedError(f"the net is not up after {_START_S:g} s: {self._last_words()}")
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                raise TestbedError(f"the net did not come up: {self._last_words()}")
            said += chunk
        about: dict[str, Any] = json.loads(said)
        if "error" in about:
            raise from_data(about)
        return about

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").strip().splitlines()[-8:]) or "it said nothing"

    @property
    def alive(self) -> bool:
        """Whether the sandbox is there."""
        return self._process.poll() is None

    def ask(self, operation: str, timeout_s: float = 30.0, **request: Any) -> dict[str, Any]:
        """Ask for something and return the answer; the error of the other side is raised here.

        `UnfaithfulError` if nobody answers: then the sandbox was killed, or hangs.
        """
        try:
            path = self.directory.control("session")
            answer = control.call(path, {"op": operation, **request}, timeout_s)
        except TimeoutError:
            raise UnfaithfulError(f"the net did not answer `{operation}` within {timeout_s:g} s") from None
        except OSError:
            raise UnfaithfulError(f"the net is gone: {self._last_words()}") from None
        if "failed" in answer:
            raise from_data(answer["failed"])
        return answer

    def finish(self, *, record: bool) -> dict[str, Any]:
        """End the country in order; return how faithful its link was. The sandbox is gone afterwards in any case."""
        try:
            return self.ask("finish", 120.0, record=record)
        finally:
            self.kill(patience_s=_END_S)

    def kill(self, patience_s: float = 0.0) -> None:
        """End the sandbox: let it go when it is done, else by force."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
