"""A student's work: the filled-in form, the files beside it, the captures of the run, and scripts tried for real."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from testbed import proc
from testbed.documents import Document, read_document
from testbed.errors import InputError, Problem
from testbed.labs.evidence import Frame, missing_from, read_frames
from testbed.labs.lab import ANSWERS, Lab
from testbed.run.directory import RunDirectory
from testbed.scenario.load import load_scenario
from testbed.scenario.spec import Scenario
from testbed.scenario.topology import plan

_TRIAL_S = 90.0


@dataclass(frozen=True, slots=True)
class Mark:
    """One task: done right or not, and what was seen. It never says the answer."""

    task: str
    right: bool
    said: str = ""


@dataclass
class Work:
    """What one student handed in for a lab: `folder` holds the answers, `run` the country they worked in.

    `seat`: the host whose folder it is, in a class; a form that was handed in for another host is somebody else's.
    """

    lab: Lab
    folder: Path
    run: RunDirectory
    seat: str | None = None
    _judged: list[Mark] = field(init=False, default_factory=list)

    @cached_property
    def answers(self) -> Document:
        """The form; `InputError` if it is gone or no YAML."""
        return read_document(self.folder / ANSWERS)

    @cached_property
    def scenario(self) -> Scenario:
        """The country as it was when the student worked in it."""
        if not self.run.scenario.is_file():
            mend = f"end the lab's country: `testbed lab stop {self.lab.number}`"
            raise InputError([Problem(str(self.run.path), "holds no finished run", mend)])
        return load_scenario(self.run.scenario)

    @property
    def host(self) -> str:
        """The student's host."""
        said = str(self.answers.data.get("host", "client1"))
        if self.seat is not None and said != self.seat:
            what = f"this is the form of {said}, in the folder of {self.seat}"
            raise InputError([self.answers.problem(("host",), what, f"do it in your own host: {self.seat}")])
        return said

    @cached_property
    def address(self) -> str:
        """The address of the student's host."""
        try:
            return plan(self.scenario.shape).node(self.host).interfaces[0].addresses[0].partition("/")[0]
        except KeyError:
            raise InputError([self.answers.problem(("host",), f"no host {self.host!r}", "write client1")]) from None

    @cached_property
    def inside(self) -> list[Frame]:
        """What passed the box on its inner side."""
        return read_frames(self.run.capture("gateway", "inside"))

    @cached_property
    def outside(self) -> list[Frame]:
        """What passed the box on its outer side."""
        return read_frames(self.run.capture("gateway", "outside"))

    @cached_property
    def injected(self) -> dict[int, Frame]:
        """Frames toward the student that no one outside sent, by number."""
        return {f.number: f for f in missing_from(self.inside, self.outside) if f.target == self.address}

    @cached_property
    def dropped(self) -> dict[int, Frame]:
        """Frames of the student that never came out of the box, by number."""
        return {f.number: f for f in missing_from(self.inside, self.outside) if f.source == self.address}

    def frame(self, key: str) -> Frame | None:
        """Return the frame of the inner capture that an answer names."""
        wanted = self.answers.data.get(key)
        return next((frame for frame in self.inside if frame.number == wanted), None)

    def value(self, key: str) -> Any:
        """Return an answer, None if it is not filled in."""
        return self.answers.data.get(key)

    def number(self, key: str) -> float:
        """Return an answer as a number; NaN, which is near nothing, if it is none."""
        value = self.value(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan

    def words(self, key: str) -> list[str]:
        """Return an answer that is a list of words, or one word."""
        value = self.value(key)
        listed = value if isinstance(value, list) else [value]
        return [str(item).strip().lower() for item in listed if item is not None]

    def file(self, name: str) -> Path:
        """Return a file of the student's."""
        return self.folder / name

    def judge(self, task: str, check: Callable[[], bool | str], hint: str = "") -> None:
        """Mark a task: a check returns True, False, or what is wrong. Bad input is a wrong answer with its place.

        `hint`: where to look, for an answer of which no more is to be said than that it is wrong. The answers stand in
        the task before its colon; one that is empty is said to be.
        """
        try:
            if empty := self._empty(task):
                self._judged.append(Mark(task, False, f"not filled in: {', '.join(empty)}"))
                return
            found = check()
        except InputError as error:
            self._judged.append(Mark(task, False, str(error)))
            return
        except (TypeError, ValueError) as error:  # whatever a student writes into a form is an answer, not a bug
            self._judged.append(Mark(task, False, f"can't be read: {error}"))
            return
        said = found if isinstance(found, str) else "" if found else hint
        self._judged.append(Mark(task, found is True, said))

    def _empty(self, task: str) -> list[str]:
        """Return the answers of a task that are not filled in."""
        form = self.answers.data
        return [key for key in task.partition(":")[0].split(", ") if key in form and form[key] in (None, "", [])]

    @property
    def marks(self) -> list[Mark]:
        """What was marked so far."""
        return list(self._judged)

    def in_country(
        self, argv: Sequence[str], *, policy: str | None = None, keep: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the first host of a fresh country of this lab, with the censor or another one.

        `keep`: a folder that is not there yet, for the captures.
        """
        where = ["--policy", policy] if policy else ["--scenario", str(self.lab.scenario)]
        where += ["--keep", str(keep)] if keep else []
        command = proc.module("testbed.cli.main", "exec", *where, "--", *argv)
        try:
            return subprocess.run(
                command, cwd=self.folder, capture_output=True, text=True, timeout=_TRIAL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"not done after {_TRIAL_S:g} s")


def near(value: float, truth: float, share: float, least: float = 0.0) -> bool:
    """Say whether a number is within a share (or an absolute distance) of the truth."""
    return abs(value - truth) <= max(share * abs(truth), least)
