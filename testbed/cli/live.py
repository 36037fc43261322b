"""How every live verb starts: the job written down, the sandbox entered, its status passed on."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from testbed import proc
from testbed.errors import InputError, Problem
from testbed.net import sandbox
from testbed.run.directory import RunDirectory

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


def play(job: dict[str, Any], folder: Path) -> int:
    """Play a job in a fresh sandbox, its files below `folder`; return the exit status."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Problem(str(folder), f"can't be made: {error.strerror}", "give another place")]) from None
    directory = RunDirectory.prepared(folder)
    path = directory.path / "work" / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return sandbox.enter(proc.module("testbed.run.live", str(path)), run_dir=directory.path)


_SCRATCH = "testbed-run-"
_YOUNG_S = 10.0


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for a run that nobody keeps and remove it afterwards, with those that killed runs left behind."""
    parent = Path(tempfile.gettempdir())
    sweep(parent)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=parent) as name:
        lock = _locked(Path(name))
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def sweep(parent: Path) -> None:
    """Remove this user's scratch folders whose run is gone: nobody holds their lock, and they are not new."""
    for folder in parent.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if about.st_uid != os.geteuid() or time.time() - about.st_mtime < _YOUNG_S:
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Take a folder for this process, until it ends however it ends; None if another one has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
