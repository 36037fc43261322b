"""How `scripts/test` divides the tests: each in exactly one of its runs, and the live ones where two of them look."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

ROOT = Path(__file__).parents[1]
RUNS = re.findall(r'^\S+ -m pytest -m "(.*?)"(.*)$', (ROOT / "scripts" / "test").read_text(), re.MULTILINE)
LIVE = re.compile(r"^pytestmark\b.*?\bmark\.live\b|^ +pytest\.mark\.live,$|^@pytest\.mark\.live$", re.MULTILINE)
ALONE = re.compile(r"\bmark\.alone\b")
SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize(
    "marks", [{"live": live, "alone": alone} for live, alone in itertools.product((False, True), repeat=2)]
)
def test_every_test_is_in_exactly_one_run(marks: dict[str, bool]) -> None:
    def has(name: str, /, **_: object) -> bool:
        return marks[name]

    assert len(RUNS) == 3
    chosen = [words for words, _ in RUNS if Expression.compile(words).evaluate(has)]
    assert len(chosen) == 1, marks


@pytest.mark.parametrize("options", [options for words, options in RUNS if "not live" not in words])
def test_the_live_runs_look_wherever_a_live_test_is(options: str) -> None:
    folders = {ROOT / word for word in options.split() if word.startswith("tests/")}
    live = {path.parent for path, text in SOURCES.items() if LIVE.search(text)}
    assert live == folders


def test_only_live_tests_ask_to_be_alone() -> None:
    asking = {path for path, text in SOURCES.items() if ALONE.search(text)} - {Path(__file__)}
    assert len(asking) > 3
    assert asking <= {path for path, text in SOURCES.items() if LIVE.search(text)}
