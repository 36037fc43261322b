"""Programs that left the group they were started in, as daemons do: found by a mark that their environment carries.

A daemon that stayed would hold its port when the tool is started anew, and the tool would be called blocked. One that
wipes its environment (`sshd` does with its title) is not found: a recipe starts such a program in the foreground.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

MARK = "TESTBED_PROGRAM"
_POLL_S, _PATIENCE_S, _LOOKS = 0.01, 1.0, 2


def marked(marks: Collection[str]) -> list[int]:
    """Return the processes that carry one of these marks, those that ended but were not waited for left out."""
    wanted = {f"{MARK}={mark}".encode() for mark in marks}
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and not wanted.isdisjoint((entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
    return sorted(found)


def ask(marks: Collection[str], groups: Collection[int]) -> None:
    """Ask what carries a mark to end, but for what is in one of these groups, which is asked as a group."""
    for pid in marked(marks):
        with contextlib.suppress(OSError):
            if os.getpgid(pid) not in groups:
                os.kill(pid, signal.SIGTERM)


def end(marks: Collection[str]) -> None:
    """End what still carries a mark by force, and wait until it is gone.

    A process in the middle of an `exec` shows no environment for a moment: only a second look believes the first.
    """
    deadline = time.monotonic() + _PATIENCE_S
    gone = 0
    while gone < _LOOKS and time.monotonic() < deadline:
        left = marked(marks)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        gone = 0 if left else gone + 1
        time.sleep(_POLL_S)
