"""What a lab is: a folder `labs/N-name` with pages, a scenario and a form to fill in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed import shipped
from testbed.documents import read_document
from testbed.errors import InputError, Problem

ANSWERS = "answers.yaml"
LANGUAGES = ("en", "ru", "fr")


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab, its files below `folder`."""

    number: int
    name: str
    folder: Path

    @property
    def scenario(self) -> Path:
        """The country of the lab."""
        return self.folder / "scenario.yaml"

    @property
    def title(self) -> str:
        """One line for people."""
        return str(read_document(self.scenario).data.get("title", self.name))

    @property
    def is_played(self) -> bool:
        """Say whether the scenario is a run with apps of its own; else its country is kept up for the students."""
        return bool(read_document(self.scenario).data.get("apps"))

    def page(self, language: str) -> Path:
        """The student's page."""
        return self.folder / ("student.md" if language == "en" else f"student.{language}.md")

    @property
    def teacher(self) -> Path:
        """The teacher's page, with the answers."""
        return self.folder / "teacher.md"

    @property
    def forms(self) -> list[Path]:
        """The files that a student gets to fill in."""
        return sorted(path for path in (self.folder / "work").iterdir() if path.is_file())


def labs() -> list[Lab]:
    """Return all labs by number."""
    found = [path for path in shipped.folder("labs").glob("[0-9]-*") if path.is_dir()]
    return [Lab(int(path.name[0]), path.name[2:], path) for path in sorted(found)]


def find_lab(number: int) -> Lab:
    """Return the lab of a number; `InputError` if there is none."""
    for lab in labs():
        if lab.number == number:
            return lab
    known = ", ".join(str(lab.number) for lab in labs()) or "none is installed"
    raise InputError([Problem(f"lab {number}", "no such lab", f"choose one of {known}")])
