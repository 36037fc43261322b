"""What counts as worse between two runs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from testbed.report.compare import compare
from testbed.report.tables import Run, load_run
from tests.report.runs import result, written


def runs(tmp_path: Path, **changes: Any) -> tuple[Run, Run]:
    """Return a run and another whose first attempt or result is changed."""
    other = copy.deepcopy(result())
    for key, value in changes.items():
        (other if key in other else other["apps"][0])[key] = value
    return load_run(written(tmp_path / "a")), load_run(written(tmp_path / "b", other))


def test_a_run_is_not_different_from_itself(tmp_path: Path) -> None:
    assert compare(*runs(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "what", "change"),
    [
        ({"verdict": "blocked"}, "verdict", "worse"),
        ({"verdict": "ok"}, "verdict", "better"),
        ({"kpis": {"delivery_s": 5.0}}, "delivery_s", "worse"),
        ({"kpis": {"delivery_s": 1.0}}, "delivery_s", "better"),
        ({"decisions": {"total": 4, "by_rule": {"sni": 4}}}, "decisions", "changed"),
        ({"status": "passed"}, "status", "better"),
        ({"status": "invalid"}, "status", "changed"),
        ({"expectations": [{**result()["expectations"][0], "holds": False}]}, "expectation", "worse"),
    ],
)
def test_each_kind_of_difference(tmp_path: Path, changes: dict[str, Any], what: str, change: str) -> None:
    (found,) = compare(*runs(tmp_path, **changes))
    assert (found.what, found.change) == (what, change)


def test_a_figure_within_the_tolerance_is_noise(tmp_path: Path) -> None:
    two = runs(tmp_path, kpis={"delivery_s": 2.8})
    assert compare(*two, tolerance=0.25) == []
    assert [found.change for found in compare(*two, tolerance=0.05)] == ["worse"]
