"""How every live verb starts: the job written down, the sandbox entered, its status passed on."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from testbed import proc
from testbed.errors import InputError, Problem
from testbed.net import sandbox
from testbed.run.directory import RunDirectory
from testbed.run.scratch import scratch, sweep

__all__ = ["allow_plugins", "new_folder", "play", "scratch", "sweep"]

allow_plugins = click.option(
    "--allow-plugins", "plugins", is_flag=True, help="Run the code that a policy's plug-ins name."
)


def new_folder(path: Path, option: str) -> Path:
    """Return a folder to keep a run in, made if need be; `InputError` if something is there already."""
    if path.exists() and (not path.is_dir() or any(found.is_file() for found in path.rglob("*"))):
        mend = f"give a new directory, or one without files, with {option}"
        raise InputError([Problem(str(path), "is there already", mend)])
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Problem(str(path), f"can't be made: {error.strerror}", "give another place")]) from None
    return path


def play(job: dict[str, Any], folder: Path, *, prompt: bool = False) -> int:
    """Play a job in a fresh sandbox, its files below `folder`; return the exit status. `prompt`: as in `enter`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Problem(str(folder), f"can't be made: {error.strerror}", "give another place")]) from None
    directory = RunDirectory.prepared(folder)
    path = directory.path / "work" / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    argv = proc.module("testbed.run.live", str(path))
    loaded = partial(_loaded, path) if forks else None
    return sandbox.enter(argv, run_dir=directory.path, loaded=loaded, prompt=prompt)


#: Whether this process goes into the sandbox by a fork, since it has loaded all that is needed there (`cli.nursery`).
forks = False


def _loaded(path: Path) -> int:
    from testbed.run.live import run

    return run(path)
