"""The gate: only a run that imitated what was asked may pass."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.run.gate import reasons_invalid, status_of

FAITHFUL = {"faithful": True, "reasons": []}


def test_a_clean_run_has_no_reason_against_it() -> None:
    assert reasons_invalid(FAITHFUL, {"gateway": {"queue_drops": 0}}, [], []) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (({"faithful": False, "reasons": ["rate 3 % off"]}, {}, [], []), "rate 3 % off"),
        (({"faithful": False}, {}, [], []), "not measured"),
        (({}, {}, [], []), "not measured"),
        ((FAITHFUL, {"gateway": {"queue_drops": 7}}, [], []), "lost 7 packets"),
        ((FAITHFUL, {}, ["gateway ended with status 1"], []), "ended"),
        ((FAITHFUL, {}, [], ["imo-text"]), "imo-text"),
    ],
)
def test_each_fault_is_named(arguments: Any, word: str) -> None:
    assert word in reasons_invalid(*arguments)[0]


@pytest.mark.parametrize(
    ("why", "holds", "interrupted", "expected"),
    [
        ([], [True, True], False, ("passed", 0)),
        ([], [True, False], False, ("failed", 1)),
        (["x"], [True], False, ("invalid", 3)),
        (["x"], [False], False, ("invalid", 3)),
        ([], [True], True, ("interrupted", 3)),
    ],
)
def test_status(why: list[str], holds: list[bool], interrupted: bool, expected: tuple[str, int]) -> None:
    assert status_of(why, [{"holds": value} for value in holds], interrupted) == expected
