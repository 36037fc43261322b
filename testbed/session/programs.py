"""Programs in a live net's hosts: how they enter, what they find there, and how they are ended with their children."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import proc
from testbed.errors import InputError, Problem
from testbed.net import hosts, sandbox
from testbed.tools.logs import last_lines
from testbed.tools.runner import end, search_path

_POLL_S = 0.02
#: a machine's own proxy is not there in the emulated world; whoever tests with one gives it by `env`
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"})


def entering(run_dir: Path, node: str, argv: Sequence[str], cwd: Path) -> list[str]:
    """Return the command that runs `argv` in a node; `InputError` if there is no such program or node."""
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=search_path())
    if program is None or not (cwd / program).is_file():
        raise InputError([Problem(argv[0], "no such program", "install it, or give its path")])
    # entering the mounts leads to their root; `env` goes back to where the caller is
    return sandbox.enter_argv(run_dir, node, ["env", f"--chdir={cwd}", program, *argv[1:]])


def environment(run_dir: Path, node: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return what programs in a node find around them: the caller's variables, a home, the run's authority."""
    trust = hosts.Trust(run_dir / "work" / "ca" / "trusted.pem", run_dir / "work" / "ca" / "nssdb")
    own = {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
    home = run_dir / "work" / "hosts" / node / "home"
    return {**own, "PATH": search_path(), **hosts.environment(home, trust), **more}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and its children by force; a group of theirs reaches into the sandbox, a signal to one doesn't."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@dataclass
class Program:
    """A program that runs on in a host, its output in `log`; `stop` ends it, and so does the end of the net."""

    name: str
    node: str
    argv: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def said(self) -> str:
        """Return what it wrote up to now."""
        return self.log.read_text(encoding="utf-8", errors="replace").partition("\n")[2]

    def stop(self) -> int:
        """End it and its children, politely at first; return its status, 128 + n if a signal ended it."""
        end([self.process])
        return _status(self.process)

    def wait_until(self, is_ready: Callable[[], bool], what: str, within_s: float) -> None:
        """Wait for a sign; `CommandError` with its last words if it ends before, or the time is over."""
        deadline = time.monotonic() + within_s
        while not is_ready():
            if not self.alive:
                raise self._failed(_status(self.process), f"{self.name} ended before {what}")
            if time.monotonic() > deadline:
                self.stop()
                raise self._failed(124, f"{self.name}: after {within_s:g} s not yet {what}")
            time.sleep(_POLL_S)

    def says(self, pattern: str) -> bool:
        """Whether it has written a line that a regular expression finds."""
        return re.search(pattern, self.said(), re.MULTILINE) is not None

    def _failed(self, status: int, what: str) -> proc.CommandError:
        return proc.CommandError(proc.Completed(self.argv, status, "", f"{last_lines(self.said())}\n{what}"))


def _status(process: subprocess.Popen[bytes]) -> int:
    status = process.wait()
    return status if status >= 0 else 128 - status
