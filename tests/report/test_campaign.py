"""A matrix as a table, a page and JUnit: every cell is there, and what proves nothing never looks green."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console

from testbed.report import campaign
from tests.report.runs import result, written


def cell(name: str, word: str, holds: bool | None, **changed: Any) -> dict[str, Any]:
    tool, policy, seed = name.split("+")
    return {
        "cell": name, "scenario": None, "tool": tool, "policy": policy, "seed": int(seed), "turn": 1,
        "expected": ["ok"], "outcome": word, "holds": holds, "reused": False, "why": ["<why>"], "detail": "0.2 s",
        "took_s": 4.25, "run": None, "where": "", "alone": False, "lag": {"wakings": 9, "late": 0, "worst_s": 0.004},
        **changed,
    }  # fmt: skip


def matrix(*cells: dict[str, Any], status: int = 1) -> dict[str, Any]:
    return {
        "matrix": "m", "title": "A <title>", "about": "", "command": "testbed matrix m.yaml", "interrupted": False,
        "status": status, "counts": {"hold": 1, "fail": 1, "invalid": 1, "skipped": 1}, "cells": list(cells),
    }  # fmt: skip


FOUR = matrix(
    cell("ssh+tm-2022+1", "ok", True), cell("ssh+tm-2022+2", "blocked", False), cell("ssh+open+1", "invalid", None),
    cell("obfs4+open+1", "skipped", None),
)  # fmt: skip


def test_a_square_holds_only_if_all_its_seeds_do() -> None:
    grid = campaign.grid_of(FOUR)
    assert (grid.rows, grid.columns) == (("ssh", "obfs4"), ("tm-2022", "open"))
    square = grid.squares["ssh", "tm-2022"]
    assert (square.holds, square.text, square.detail) == (False, "1 ok, 1 blocked", "")
    assert grid.squares["ssh", "open"].holds is None
    assert ("obfs4", "tm-2022") not in grid.squares


def test_junit_has_a_case_a_cell(tmp_path: Path) -> None:
    root = ElementTree.fromstring(campaign.render_junit(FOUR))
    ssh, obfs4 = root
    assert [ssh.get(key) for key in ("name", "tests", "failures", "errors", "skipped")] == ["ssh", "3", "1", "1", "0"]
    assert [obfs4.get(key) for key in ("tests", "errors", "skipped")] == ["1", "0", "1"]
    kinds = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert kinds == {
        "ssh+tm-2022+1": [], "ssh+tm-2022+2": ["failure"], "ssh+open+1": ["error"], "obfs4+open+1": ["skipped"],
    }  # fmt: skip


def test_the_page_asks_nothing_of_anybody_and_escapes(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "demo+open+1"
    folder.mkdir(parents=True)
    (written(folder / "run", result("passed")) / "report.html").touch()
    played = cell("demo+open+1", "passed", True, scenario="demo", tool=None, policy=None, run="run")
    page = campaign.render_html(matrix(*FOUR["cells"], played), tmp_path)
    assert 'href="cells/demo+open+1/run/report.html"' in page
    assert "A &lt;title&gt;" in page and "&lt;why&gt;" in page
    assert "A demo &lt;script&gt;" in page, "the runs of scenarios are shown below"
    for fetched in ("<script", "http://", "https://", "<link"):
        assert fetched not in page


def test_a_run_that_was_taken_away_is_no_reason_to_fail(tmp_path: Path) -> None:
    gone = cell("demo+open+1", "passed", True, scenario="demo", tool=None, run="run")
    assert "demo+open+1" in campaign.render_html(matrix(gone, status=0), tmp_path)


def test_the_table_says_what_is_wrong() -> None:
    console = Console(width=100)
    with console.capture() as shown:
        console.print(campaign.render_text({**FOUR, "interrupted": True}))
    text = shown.get()
    assert "✗ ssh+tm-2022+2: blocked, expected ok" in text
    assert "– ssh+open+1: invalid" in text
    assert "failed: 1 of 4 cells as expected, 1 not, 1 invalid, 1 skipped, interrupted" in text
