"""Every error a user can meet, each with a place and a mend.

::

    TestbedError            exit 4   our bug, unless a subclass says otherwise
     ├─ InputError          exit 2   what the user wrote is wrong: a list of problems
     ├─ MachineError        exit 3   this machine lacks something: what, and the remedy
     └─ UnfaithfulError     exit 3   the run did not imitate what was asked and proves nothing

This module only describes errors; printing them is the command line's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with the input: where (`file:line`), what, and how to mend it."""

    place: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}" + (f"; {self.mend}" if self.mend else "")


class TestbedError(Exception):
    """The root of the tree; raised as such it means a bug of ours."""

    __test__ = False  # pytest: not a test class, whatever its name starts with
    exit_status = 4


class InputError(TestbedError):
    """The user's input is wrong in one or more places, all of them listed."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MachineError(TestbedError):
    """This machine lacks something the request needs."""

    exit_status = 3

    def __init__(self, what: str, mend: str) -> None:
        self.what, self.mend = what, mend
        super().__init__(f"{what}; {mend}")


class UnfaithfulError(TestbedError):
    """The emulation left its bounds, so its outcome is invalid rather than passed or failed."""

    exit_status = 3


def as_data(error: TestbedError) -> dict[str, Any]:
    """Return an error as plain data, which another process turns back with `from_data`."""
    whole = [Problem("", getattr(error, "what", str(error)), getattr(error, "mend", ""))]
    problems = [asdict(problem) for problem in getattr(error, "problems", whole)]
    return {"error": type(error).__name__, "status": error.exit_status, "problems": problems}


def from_data(data: Mapping[str, Any]) -> TestbedError:
    """Return the error that `as_data` described; one of another module's own kind becomes the kind it is made of."""
    problems = [Problem(**problem) for problem in data["problems"]]
    if data["status"] == InputError.exit_status:
        return InputError(problems)
    if data["error"] == "MachineError":
        return MachineError(problems[0].what, problems[0].mend)
    kind = UnfaithfulError if data["status"] == UnfaithfulError.exit_status else TestbedError
    return kind("\n".join(problem.what for problem in problems))
