"""Error texts, exactly: each file of `errors/` draws the text beside it; every mistake has its line and its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli.check import problems_of

ERRORS = Path(__file__).parent / "errors"
FILES = sorted(path.name for path in ERRORS.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_a_mistake_is_told_exactly(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ERRORS)
    told = "".join(f"{problem}\n" for problem in problems_of(Path(name)))
    assert told == Path(name).with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FILES)
def test_every_text_has_a_line_and_a_mend(name: str) -> None:
    for line in (ERRORS / name).with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        place, _, rest = line.partition(": ")
        path, _, number = place.rpartition(":")
        assert path.endswith(".yaml"), line
        assert int(number) >= 1, line
        assert "; " in rest, line
