"""A whole matrix as one table, one page, one JUnit file: what `testbed matrix` leaves, from its `matrix.json`.

What was run for scenarios is shown below the table as `report.matrix` shows several runs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jinja2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.errors import InputError
from testbed.report import matrix as runs
from testbed.report.junit import written
from testbed.report.tables import Run, load_run
from testbed.report.text import STATUS_STYLES

Result = Mapping[str, Any]
_MARKS: Mapping[bool | None, str] = {True: "✓", False: "✗", None: "–"}
_COLOURS: Mapping[bool | None, str] = {True: "green", False: "bold red", None: "magenta"}
_STYLES = {"ok": "ok", "passed": "ok", "slow": "slow", "unstable": "slow", "blocked": "blocked", "failed": "blocked",
           "broken": "blocked"}  # fmt: skip
_BADGES = {0: "passed", 1: "failed", 3: "invalid", 4: "failed"}
_MOST_REASONS = 3


@dataclass(frozen=True, slots=True)
class Square:
    """What one scenario or tool came to under one policy. `holds`: as expected for every seed."""

    cells: tuple[Result, ...]
    holds: bool | None

    @property
    def mark(self) -> str:
        """A sign that can be read without colours."""
        return _MARKS[self.holds]

    @property
    def text(self) -> str:
        """The words, each with how often it came if there are several."""
        words = Counter(str(cell["outcome"]) for cell in self.cells)
        return ", ".join(word if len(self.cells) == 1 else f"{count} {word}" for word, count in words.most_common())

    @property
    def detail(self) -> str:
        """The figures of a single cell."""
        return str(self.cells[0].get("detail", "")) if len(self.cells) == 1 else ""

    @property
    def style(self) -> str:
        """The class that colours it on a page."""
        styles = {_STYLES.get(str(cell["outcome"]), "unproven") for cell in self.cells}
        return styles.pop() if len(styles) == 1 else "slow"


@dataclass(frozen=True, slots=True)
class Grid:
    """The squares by row (scenario, tool, or one through the other) and column (policy)."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    squares: Mapping[tuple[str, str], Square]


def grid_of(result: Result, base: Path | None = None) -> Grid:
    """Gather the cells of a result; with `base` each has the link of its own page, where there is one."""
    gathered: dict[tuple[str, str], list[Result]] = {}
    for cell in result["cells"]:
        row = " through ".join(filter(None, (cell["scenario"], cell["tool"])))
        gathered.setdefault((row, cell["policy"] or ""), []).append({**cell, "page": _page(cell, base)})
    squares = {place: Square(tuple(cells), _together(cells)) for place, cells in gathered.items()}
    rows, columns = (tuple(dict.fromkeys(place[axis] for place in gathered)) for axis in (0, 1))
    return Grid(rows, columns, squares)


def _together(cells: Sequence[Result]) -> bool | None:
    every = {cell["holds"] for cell in cells}
    return False if False in every else None if None in every else True


def _page(cell: Result, base: Path | None) -> str | None:
    path = _run(cell, base)
    page = path / "report.html" if path is not None else None
    return os.path.relpath(page, base) if page is not None and page.exists() else None


def _run(cell: Result, base: Path | None) -> Path | None:
    return None if base is None or not cell.get("run") else base / "cells" / cell["cell"] / cell["run"]


def summary(result: Result) -> str:
    """Say in a line how many are as expected."""
    counts = dict(result["counts"])
    held, failed = counts.pop("hold"), counts.pop("fail")
    parts = [f"{held} of {len(result['cells'])} cells as expected"]
    parts += [f"{failed} not"] if failed else []
    parts += [f"{count} {word}" for word, count in counts.items()]
    reused = sum(bool(cell["reused"]) for cell in result["cells"])
    parts += [f"{reused} as before"] if reused else []
    return ", ".join(parts) + (", interrupted" if result["interrupted"] else "")


def render_text(result: Result) -> RenderableType:
    """Return the table for a terminal, what is not as it should be, and the summary."""
    grid = grid_of(result)
    table = Table(title=result["title"], title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("")
    for column in grid.columns:
        table.add_column(column or "outcome")
    for row in grid.rows:
        table.add_row(row, *(_text(grid.squares.get((row, column))) for column in grid.columns))
    parts: list[RenderableType] = [table]
    for cell in _troubles(result):
        wanted = f", expected {' or '.join(cell['expected'])}" if cell["holds"] is False else ""
        head = f"{_MARKS[cell['holds']]} {cell['cell']}: {cell['outcome']}{wanted}"
        parts.append(Text("\n".join([head, *(f"    {reason}" for reason in cell["why"][:_MOST_REASONS])]),
                          style=_COLOURS[cell["holds"]]))  # fmt: skip
    badge = _BADGES[result["status"]]
    parts.append(Text(f"{badge}: ", style=STATUS_STYLES[badge]) + Text(summary(result), style="default"))
    return Group(*parts)


def _text(square: Square | None) -> Text:
    if square is None:
        return Text("")
    text = f"{square.mark} {square.text}"
    return Text(f"{text}\n{square.detail}" if square.detail else text, style=_COLOURS[square.holds])


def _troubles(result: Result) -> list[Result]:
    return [cell for cell in result["cells"] if cell["holds"] is not True]


def render_html(result: Result, base: Path) -> str:
    """Return one self-contained page; `base` is the folder it will stand in."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("campaign.html.j2").render(
        matrix=result, grid=grid_of(result, base), badge=_BADGES[result["status"]], summary=summary(result),
        troubles=_troubles(result), sheets=runs.sheets(_played(result, base), base), marks=runs.MARKS,
    )  # fmt: skip


def _played(result: Result, base: Path) -> list[Run]:
    """Return the runs of scenarios that came to their end."""
    found: list[Run] = []
    for cell in result["cells"]:
        path = _run(cell, base)
        if cell["scenario"] and path is not None:
            try:
                found.append(load_run(path))
            except InputError:  # taken away since; the outcome still stands
                continue
    return found


def render_junit(result: Result) -> str:
    """Return one suite a row, one case a cell; what proves nothing is an error, or skipped if a program is missing."""
    suites = ElementTree.Element("testsuites", name=str(result["matrix"]))
    grid = grid_of(result)
    for row in grid.rows:
        cells = [cell for (own, _), square in grid.squares.items() if own == row for cell in square.cells]
        suites.append(_suite(row, cells, str(result["matrix"])))
    return written(suites)


def _suite(row: str, cells: Sequence[Result], matrix: str) -> ElementTree.Element:
    skipped = [cell for cell in cells if cell["outcome"] == "skipped"]
    suite = ElementTree.Element(
        "testsuite", name=row, tests=str(len(cells)), failures=str(sum(cell["holds"] is False for cell in cells)),
        errors=str(sum(cell["holds"] is None for cell in cells) - len(skipped)), skipped=str(len(skipped)),
        time=f"{sum(cell.get('took_s', 0.0) for cell in cells):.3f}",
    )  # fmt: skip
    for cell in cells:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{matrix}.{row}", name=cell["cell"], time=f"{cell.get('took_s', 0.0):.3f}"
        )
        if cell["holds"] is not True:
            kind = "failure" if cell["holds"] is False else "skipped" if cell["outcome"] == "skipped" else "error"
            element = ElementTree.SubElement(case, kind, message=f"{cell['outcome']}: {_first(cell)}")
            element.text = f"expected {' or '.join(cell['expected'])}\n" + "\n".join(cell["why"])
    return suite


def _first(cell: Result) -> str:
    return str(cell["why"][0]) if cell["why"] else "no reason was given"
