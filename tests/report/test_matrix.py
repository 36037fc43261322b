"""Many runs as one page: what agreed, what did not, and what doesn't count."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from testbed.report import junit, matrix
from testbed.report.tables import Run, load_run
from tests.report.runs import result, written


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Return three runs of a scenario, one with another verdict, one invalid, and a run of another scenario."""
    found = []
    for seed, (status, verdict) in enumerate((("failed", "slow"), ("failed", "ok"), ("invalid", "blocked")), 1):
        outcome = copy.deepcopy(result(status))
        outcome["seed"], outcome["apps"][0]["verdict"] = seed, verdict
        found.append(load_run(written(tmp_path / f"run{seed}", outcome)))
    other = {**result(), "scenario": "another", "title": "Another"}
    return [load_run(written(tmp_path / "other", other)), *found[::-1]]


def test_a_sheet_a_scenario_a_row_a_run_by_seed(runs: list[Run]) -> None:
    another, demo = matrix.sheets(runs)
    assert (another.scenario, len(another.rows)) == ("another", 1)
    assert [row.run.result["seed"] for row in demo.rows] == [1, 2, 3]
    assert demo.columns == (("open", "text"), ("dark", "text"))


@pytest.mark.parametrize(
    ("phases", "apps", "parts"),
    [(2, 1, [(0, 2)]), (6, 4, [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20), (20, 24)]), (5, 2, [(0, 6), (6, 10)]),
     (2, 9, [(0, 9), (9, 18)]), (0, 0, [])],
)  # fmt: skip
def test_a_wide_sheet_comes_in_parts_that_can_be_printed(phases: int, apps: int, parts: list[tuple[int, int]]) -> None:
    columns = tuple((f"phase{phase}", f"app{app}") for phase in range(phases) for app in range(apps))
    sheet = matrix.Sheet("demo", "Demo", columns, (), ())
    assert [(part.start, part.stop) for part in sheet.parts] == parts


def test_a_run_that_proves_nothing_is_not_counted(runs: list[Run]) -> None:
    _, demo = matrix.sheets(runs)
    assert dict(demo.agreement[0]) == {"slow": 1, "ok": 1}
    assert dict(demo.agreement[1]) == {"blocked": 2}


def test_the_page_is_whole_links_each_run_and_escapes(runs: list[Run], tmp_path: Path) -> None:
    page = matrix.render_html(runs, tmp_path)
    assert 'href="run1/report.html"' in page
    assert "A demo &lt;script&gt;" in page
    for fetched in ("<script", "http://", "https://", "<link"):
        assert fetched not in page


def test_other_forms(runs: list[Run], tmp_path: Path) -> None:
    suites = ElementTree.fromstring(junit.render_many([run.result for run in runs]))
    assert [suite.get("name") for suite in suites] == ["another", "demo", "demo", "demo"]
    matrix.write_csv(runs, tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    assert {row["status"] for row in rows if row["run"] == "run3"} == {"invalid"}
    console = Console(width=120)
    with console.capture() as shown:
        console.print(matrix.render_text(runs))
    assert "1/2" in shown.get()
