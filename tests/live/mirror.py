"""A program that says what it finds itself to be, as one JSON line: `python -m tests.live.mirror WORDS… HOW`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


def look() -> dict[str, Any]:
    """Return what a program can see of itself, but for what is new each time."""
    status = Path("/proc/self/status").read_text()
    descriptors = [path.name for path in Path("/proc/self/fd").iterdir()]
    return {
        "argv": sys.argv, "words": Path("/proc/self/cmdline").read_text(), "name": __name__,
        "cwd": str(Path.cwd()), "environment": dict(sorted(os.environ.items())),
        "handlers": [repr(signal.getsignal(number)) for number in _SIGNALS],
        "blocked": [line for line in status.splitlines() if line.startswith(("SigBlk", "SigIgn", "SigCgt", "CapEff"))],
        "threads": threading.active_count(), "leads": os.getpgid(0) == os.getpid(), "parent": os.getppid(),
        "descriptors": sorted(name for name in descriptors if Path("/proc/self/fd", name).exists()),
        "input": str(Path("/proc/self/fd/0").readlink()),
        "net": str(Path("/proc/self/ns/net").readlink()), "mounts": str(Path("/proc/self/ns/mnt").readlink()),
        "loop": asyncio._get_running_loop() is not None,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps({"seen": look(), "chance": random.random()}), flush=True)
    how = sys.argv[-1]
    if how == "wait":
        signal.pause()
    elif how == "text":
        sys.exit("it is over")
    elif how == "error":
        raise ValueError("a bug")
    sys.exit(int(how))
