"""The one way to start a program: argument lists only, each command logged with its status and its errors.

No shell ever sees user input. A failure raises with the command, its status and the last lines it wrote, so that a
missing kernel feature or a typo in a recipe can be told apart without a debugger.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from testbed.errors import MachineError, TestbedError

_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished command: its exit status and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class CommandError(TestbedError):
    """A command that had to succeed did not."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed
        tail = "\n".join((completed.stderr or completed.stdout).strip().splitlines()[-_TAIL_LINES:])
        super().__init__(f"`{shlex.join(completed.argv)}` ended with status {completed.status}: {tail}")


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs one of our modules; files of the folder that the user stands in can't shadow it."""
    return [sys.executable, "-P", "-m", name, *arguments]


def module_of(argv: Sequence[str]) -> list[str]:
    """Return the name and the arguments of a command of `module`; nothing if it is another one."""
    return list(argv[3:]) if list(argv[:3]) == module("")[:3] and len(argv) > 3 else []


def run(
    argv: Sequence[str],
    *,
    log: Path | None = None,
    check: bool = True,
    input: str | None = None,
    timeout_s: float = 10.0,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run a command to its end. `CommandError` on a non-zero status if `check`; `MachineError` if there is none."""
    try:
        done = subprocess.run(
            list(argv), input=input, capture_output=True, text=True, errors="replace", timeout=timeout_s, env=env,
            stdin=subprocess.DEVNULL if input is None else None,
        )  # fmt: skip
        completed = Completed(tuple(argv), done.returncode, done.stdout, done.stderr)
    except FileNotFoundError:
        raise MachineError(f"the program `{argv[0]}` is not installed", "`testbed doctor` names its package") from None
    except subprocess.TimeoutExpired:
        completed = Completed(tuple(argv), 124, "", f"no end after {timeout_s:g} s")
    if log is not None:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ {shlex.join(argv)}\n[{completed.status}] {completed.stderr}\n")
    if check and completed.status:
        raise CommandError(completed)
    return completed


class Program(Protocol):
    """A long-running program, as `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process number."""
        ...

    @property
    def returncode(self) -> int | None:
        """Its exit status as far as it is known."""
        ...

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it says, if it goes to a pipe."""
        ...

    def poll(self) -> int | None:
        """Return its exit status, negative if a signal ended it; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status; `subprocess.TimeoutExpired` after some seconds."""
        ...

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it still runs."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it by force."""
        ...


def spawn(argv: Sequence[str], *, log_path: Path, **popen: Any) -> subprocess.Popen[bytes]:
    """Start a long-running command whose output goes to a log file; `MachineError` if it isn't installed.

    It gets a process group of its own: Ctrl-C is for the run, which then ends its programs in order.
    """
    with log_path.open("ab") as log:
        log.write(f"$ {shlex.join(argv)}\n".encode())
        log.flush()
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("process_group", 0)
        popen.setdefault("stdout", log)
        popen.setdefault("stderr", subprocess.STDOUT if popen["stdout"] is log else log)
        try:
            return subprocess.Popen(list(argv), **popen)
        except FileNotFoundError:
            message = f"the program `{argv[0]}` is not installed"
            raise MachineError(message, "`testbed doctor` names its package") from None
