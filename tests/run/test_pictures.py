"""Screenshots get the names of what they show, and words for those who can't see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from testbed.run.pictures import described, named_by_phase


def attempt(name: str, picture: str | None, phase: str | None) -> dict[str, Any]:
    about = {"name": name, "phase": phase, "t": 3.0, "verdict": "blocked", "seen": "ERR_X"}
    return about if picture is None else {**about, "screenshot": picture}


def test_pictures_are_named_by_app_and_phase(tmp_path: Path) -> None:
    for picture in ("a-1.png", "a-2.png", "a-3.png", "b-1.png"):
        (tmp_path / picture).write_text(picture)
    results = [
        attempt("a", "a-1.png", "open"), attempt("a", "a-2.png", "open"), attempt("a", "a-3.png", None),
        attempt("b", "b-1.png", "open"), attempt("c", None, "open"), attempt("b", "lost.png", "open"),
    ]  # fmt: skip
    named = named_by_phase(results, tmp_path)
    assert [result.get("screenshot") for result in named] == [
        "a-open.png", "a-open-2.png", "a-3.png", "b-open.png", None, "lost.png",
    ]  # fmt: skip
    assert (tmp_path / "a-open-2.png").read_text() == "a-2.png"
    assert (tmp_path / "a-3.png").read_text() == "a-3.png"
    assert described(named)["a-open.png"] == "a in phase open, blocked: ERR_X"
    assert described(named)["a-3.png"] == "a at 3.0 s, blocked: ERR_X"
