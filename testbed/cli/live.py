"""How every live verb starts: the job written down, the sandbox entered, its status passed on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from testbed.errors import InputError, Problem
from testbed.net import sandbox
from testbed.run.directory import RunDirectory


def play(job: dict[str, Any], folder: Path) -> int:
    """Play a job in a fresh sandbox, its files below `folder`; return the exit status."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Problem(str(folder), f"can't be made: {error.strerror}", "give another place")]) from None
    directory = RunDirectory.prepared(folder)
    path = directory.path / "work" / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return sandbox.enter([sys.executable, "-m", "testbed.run.live", str(path)], run_dir=directory.path)
