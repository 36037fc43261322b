"""Where runs come from: a process that has loaded everything and forks a run when asked (`testbed.cli.nursery`)."""

from __future__ import annotations

import json
import select
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from testbed import proc
from testbed.errors import TestbedError

#: With this process's death the child gets SIGKILL; what it leaves inside its sandbox goes with it.
WITH_US = ("setpriv", "--pdeathsig", "KILL")


class Process(Protocol):
    """A run's process, as `subprocess.Popen` is one."""

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it still runs."""
        ...

    def kill(self) -> None:
        """End it by force."""
        ...


class Start(Protocol):
    """Starts `testbed ARGUMENTS` with its output in a log."""

    def __call__(self, arguments: Sequence[str], log: Path) -> Process:
        """Start it."""
        ...


def start_anew(arguments: Sequence[str], log: Path) -> Process:
    """Start a run as a program of its own."""
    return proc.spawn([*WITH_US, *proc.module("testbed.cli.main", *arguments)], log_path=log)


class Nursery:
    """A context manager; the processes it starts end with it, at the latest."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [*WITH_US, *proc.module("testbed.cli.nursery")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            process_group=0,
        )  # fmt: skip
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, arguments: Sequence[str], log: Path) -> Process:
        """Fork a run."""
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ testbed {shlex.join(arguments)}\n")
        self.ask({"argv": list(arguments), "log": str(log), "cwd": str(Path.cwd())})
        return _Child(self, int(self._answer()["pid"]))

    def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def status(self, pid: int) -> int | None:
        """Return the exit status of a child; None while it runs."""
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], 0)[0]:
            self._take(self._line())
        return self._ended.get(pid)

    def _answer(self) -> Mapping[str, Any]:
        """Wait for the answer to a request; ends of children may come before it."""
        while "status" in (told := self._line()):
            self._take(told)
        return told

    def _take(self, told: Mapping[str, Any]) -> None:
        self._ended[int(told["pid"])] = int(told["status"])

    def _line(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise TestbedError(f"the process that starts runs ended with status {self._process.wait()}: see above")
        found: Mapping[str, Any] = json.loads(line)
        return found


@dataclass(frozen=True, slots=True)
class _Child:
    nursery: Nursery
    pid: int

    def poll(self) -> int | None:
        return self.nursery.status(self.pid)

    def send_signal(self, sig: int) -> None:
        self.nursery.ask({"pid": self.pid, "signal": int(sig)})

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
