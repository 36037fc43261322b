"""Many runs as one: each scenario a table, each run a row, each app in each phase a column, and how often it agreed.

What `testbed report RUN RUN …` prints. Runs that prove nothing are shown and not counted.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.report.tables import Run
from testbed.report.text import STATUS_STYLES, summarise

Cell = tuple[str, str]
_COLUMNS_A_PART = 6
_UNPROVEN = ("invalid", "interrupted")
MARKS = {"ok": "✓", "slow": "~", "blocked": "✗", "-": ""}


@dataclass(frozen=True, slots=True)
class Row:
    """One run: where its report is, and the worst verdict of each column with its reason or figure."""

    run: Run
    link: str
    cells: tuple[Cell, ...]
    held: int

    @property
    def proves(self) -> bool:
        """Say whether it counts."""
        return self.run.result["status"] not in _UNPROVEN


@dataclass(frozen=True, slots=True)
class Sheet:
    """The runs of one scenario. `columns`: phase and app. `agreement`: how often each verdict came, where it counts."""

    scenario: str
    title: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    agreement: tuple[tuple[tuple[str, int], ...], ...]

    @property
    def parts(self) -> tuple[slice, ...]:
        """Return the columns in parts that fit a sheet of paper; a phase stays in one piece."""
        found: list[slice] = []
        for _, phase in itertools.groupby(range(len(self.columns)), lambda index: self.columns[index][0]):
            indices = list(phase)
            first, last = indices[0], indices[-1]
            fits = bool(found) and last + 1 - found[-1].start <= _COLUMNS_A_PART
            found.append(slice(found.pop().start if fits else first, last + 1))
        return tuple(found)


def sheets(runs: Sequence[Run], base: Path | None = None) -> list[Sheet]:
    """Gather runs by scenario, each sheet's rows by seed and start; links are relative to `base`."""
    by_scenario: dict[str, list[Run]] = {}
    for run in runs:
        by_scenario.setdefault(run.result["scenario"], []).append(run)
    return [_sheet(own, base) for _, own in sorted(by_scenario.items())]


def _sheet(runs: Sequence[Run], base: Path | None) -> Sheet:
    columns = tuple(dict.fromkeys((row["phase"], row["name"]) for run in runs for row in run.apps if row["phase"]))
    phases = list(dict.fromkeys(phase["name"] for run in runs for phase in run.phases))
    columns = tuple(sorted(columns, key=lambda column: (phases.index(column[0]), column[1])))
    ordered = sorted(runs, key=lambda run: (run.result["seed"], run.result["started"]))
    rows = tuple(_row(run, columns, base) for run in ordered)
    agreement = tuple(_counted(row.cells[index][0] for row in rows if row.proves) for index in range(len(columns)))
    first = runs[0].result
    return Sheet(first["scenario"], first["title"], columns, rows, agreement)


def _row(run: Run, columns: Sequence[tuple[str, str]], base: Path | None) -> Row:
    cells = tuple(
        summarise(a for a in run.result["apps"] if a["name"] == app and a.get("phase") == phase)
        for phase, app in columns
    )
    page = run.path / "report.html"
    link = os.path.relpath(page, base) if base is not None else page.as_uri()
    return Row(run, link, cells, sum(bool(item["holds"]) for item in run.expectations))


def _counted(verdicts: Iterable[str]) -> tuple[tuple[str, int], ...]:
    counts = Counter(verdict for verdict in verdicts if verdict != "-")
    return tuple(counts.most_common())


def render_html(runs: Sequence[Run], base: Path | None = None) -> str:
    """Return one self-contained page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    statuses = Counter(run.result["status"] for run in runs)
    return environment.get_template("matrix.html.j2").render(
        sheets=sheets(runs, base), statuses=sorted(statuses.items()), count=len(runs), marks=MARKS
    )


def render_text(runs: Sequence[Run]) -> RenderableType:
    """Return a table for a terminal: one row a run."""
    grid = Table(box=None, pad_edge=False)
    for title in ("scenario", "seed", "status", "hold", "blocked", "slow", "ok", "run"):
        grid.add_column(title)
    for sheet in sheets(runs):
        for row in sheet.rows:
            counts = Counter(verdict for verdict, _ in row.cells)
            status = row.run.result["status"]
            grid.add_row(
                sheet.scenario, str(row.run.result["seed"]), Text(status, STATUS_STYLES[status]),
                f"{row.held}/{len(row.run.expectations)}", *(str(counts[v]) for v in ("blocked", "slow", "ok")),
                row.run.path.name,
            )  # fmt: skip
    return Group(grid)


def write_csv(runs: Sequence[Run], path: Path) -> None:
    """Write one line for each run, phase and app."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("run", "scenario", "seed", "status", "phase", "app", "verdict", "detail"))
        for sheet in sheets(runs):
            for row in sheet.rows:
                about: tuple[Any, ...] = (
                    row.run.path.name, sheet.scenario, row.run.result["seed"], row.run.result["status"],
                )  # fmt: skip
                writer.writerows(
                    (*about, *column, *cell) for column, cell in zip(sheet.columns, row.cells, strict=True)
                )
