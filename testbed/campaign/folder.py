"""The folder of a matrix: plain files that any CI can keep, and the reason why a second invocation is short.

::

    matrix.json    the matrix, its cells and how each ended           junit.xml   for CI
    matrix.html    the same as a page that asks nothing of anybody
    cells/NAME/    outcome.json, the log of the verb, and in `run` its run directory
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.campaign import outcome
from testbed.campaign.inputs import Key
from testbed.campaign.outcome import Outcome
from testbed.errors import InputError, Problem

_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below `path`."""

    path: Path

    @property
    def cells(self) -> Path:
        """A folder for each cell."""
        return self.path / "cells"

    @property
    def summary(self) -> Path:
        """The matrix, its cells and how each ended."""
        return self.path / "matrix.json"

    @property
    def page(self) -> Path:
        """The same for people."""
        return self.path / "matrix.html"

    @property
    def junit(self) -> Path:
        """The same for CI."""
        return self.path / "junit.xml"

    def _outcome(self, cell: str) -> Path:
        return self.cells / cell / "outcome.json"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take the folder for this process; `InputError` if it is somebody else's."""
        self._make()
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                mend = "wait for it, or give another folder with --out"
                raise InputError([Problem(str(self.path), "another matrix is writing there", mend)]) from None
            yield
        finally:
            os.close(descriptor)

    def _make(self) -> None:
        try:
            if self.path.exists() and any(self.path.iterdir()) and not self.cells.is_dir():
                mend = "give a new folder, or one of an earlier matrix, with --out"
                raise InputError([Problem(str(self.path), "is there already and is not a matrix's", mend)])
            self.cells.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = Problem(str(self.path), f"can't be written: {error.strerror}", "give another place with --out")
            raise InputError([problem]) from None

    def keep(self, found: Outcome) -> None:
        """Write an outcome down, in one step."""
        path = self._outcome(found.cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found.as_json())

    def known(self, cell: str, key: Key, *, programs: bool) -> Outcome | None:
        """Return the outcome of an earlier invocation that still holds: the same key, and it proved something.

        Without `programs` it counts whatever the programs of this machine are: another one may have run it.
        """
        found = outcome.read(self._outcome(cell))
        if found is None or not found.proves or found.key.get("inputs") != key.inputs:
            return None
        return None if programs and found.key.get("programs") != key.programs else found


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step, so that a reader never sees half of it."""
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
