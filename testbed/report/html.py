"""The result as one self-contained HTML page: no script, no request to anywhere, in light, dark and print."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2

from testbed.errors import MachineError
from testbed.report import plots
from testbed.report.tables import Run
from testbed.report.text import summarise
from testbed.report.why import causes
from testbed.run.pictures import described

_MARKS = {"ok": "✓", "slow": "~", "blocked": "✗", "-": ""}
_DATA = ("scenario.yaml", "events.jsonl", "link.jsonl", "roundtrips.jsonl", "fidelity.json", "junit.xml")
_SHOWN_EVENTS = 500
_LARGEST_PICTURES_BYTES = 8 << 20


_MOST_ON_PAPER = 6
_UNDRAWN = "Nothing is drawn in this copy: `testbed report RUN --output DIR` does it."


def render(run: Run, *, drawn: bool = True) -> str:
    """Return the page of a run; without plots if it need not be drawn, which takes a second of a core."""
    names = list(dict.fromkeys(run.apps.column("name")))
    figures, no_plots = _plots(run) if drawn else ([], _UNDRAWN)
    return template().render(
        result=run.result, parts=in_parts(run.result["phases"]), scenario=_scenario(run.path),
        names=sorted(names), cells=_cells(run, names), marks=_MARKS,
        plots=figures, no_plots=no_plots, causes=causes(run.result["apps"], run.decisions, _plan(run.path)),
        events=run.decisions[:_SHOWN_EVENTS], hidden=max(0, len(run.decisions) - _SHOWN_EVENTS), steps=run.steps,
        pictures=_pictures(run), files=_files(run.path), folder=run.path.name,
    )  # fmt: skip


@cache
def template() -> jinja2.Template:
    """Return the page without a run's data, ready to be filled; compiled once, which takes 0.1 s of a core."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["evidence"] = evidence_text
    environment.filters["quantity"] = quantity
    environment.filters["fidelity_rows"] = fidelity_rows
    environment.get_template("report.css")  # the page includes it
    return environment.get_template("report.html.j2")


def _plots(run: Run) -> tuple[list[tuple[plots.Plot, str]], str]:
    try:
        return plots.inline(run), ""
    except MachineError as error:
        return [], str(error)


def in_parts(phases: Sequence[Any]) -> list[Sequence[Any]]:
    """Return phases in as few tables as fit a sheet of paper, none much wider than another."""
    tables = -(-len(phases) // _MOST_ON_PAPER)
    edges = [number * len(phases) // tables for number in range(tables + 1)] if tables else []
    return [phases[a:b] for a, b in pairwise(edges)]


def _cells(run: Run, names: Iterable[str]) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (name, phase["name"]): summarise(
            item for item in run.result["apps"] if item["name"] == name and item.get("phase") == phase["name"]
        )
        for name in names
        for phase in run.phases
    }


def _scenario(folder: Path) -> str:
    path = folder / "scenario.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _plan(folder: Path) -> Mapping[str, Any]:
    path = folder / "plan.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _pictures(run: Run) -> list[tuple[str, str, str | None]]:
    """Return the screenshots of a run: name, what it shows, and a data URI; None for one too large for a page."""
    found: list[tuple[str, str, str | None]] = []
    shows = described(run.result["apps"])
    left = _LARGEST_PICTURES_BYTES
    for path in sorted((run.path / "screenshots").glob("*.png")):
        size = path.stat().st_size
        source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode() if size <= left else None
        left -= size if source else 0
        found.append((path.stem, shows.get(path.name, path.stem), source))
    return found


def _files(folder: Path) -> list[tuple[str, str]]:
    """Return what can be opened beside the page: captures first, then data; each with its size."""
    places = [*sorted((folder / "pcap").glob("*.pcapng"))]
    places += [folder / name for name in _DATA]
    return [(str(p.relative_to(folder)), f"{p.stat().st_size / 1e3:,.0f} kB") for p in places if p.exists()]


_FIDELITY_ROWS = (
    ("rate asked", "asked.rate_bps", "bit/s"), ("rate while busy", "busy_bps", "bit/s"),
    ("busiest 2 s", "busiest_bps", "bit/s"), ("delay asked", "asked.delay_s", "s"), ("idle delay", "idle_delay_s", "s"),
    ("loss asked", "loss_asked", "%"), ("loss asked", "asked.loss", "%"), ("loss", "loss", "%"),
    ("packets", "entered", ""), ("queue full", "overflowed", ""),
)  # fmt: skip


def fidelity_rows(fidelity: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what was asked and measured, up and down, as far as the run's version wrote it down."""
    found = []
    for label, key, unit in _FIDELITY_ROWS:
        values = [_at(fidelity.get(way), key) for way in ("up", "down")]
        if any(value is not None for value in values):
            found.append((label, quantity(values[0], unit), quantity(values[1], unit)))
    return found


def _at(data: Any, key: str) -> float | None:
    for part in key.split("."):
        data = data.get(part) if isinstance(data, Mapping) else None
    return data if isinstance(data, (int, float)) else None


def evidence_text(evidence: Mapping[str, Any]) -> str:
    """Write evidence in a line, bytes in hexadecimal as they are."""
    return ", ".join(f"{key} {_value(value)}" for key, value in evidence.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({evidence_text(value)})"
    if isinstance(value, float):
        return f"{value:g}"
    return (", ".join(map(_value, value)) or "none") if isinstance(value, (list, tuple)) else str(value)


def quantity(value: float | None, unit: str) -> str:
    """Write a number with its unit in the prefix that suits it; a dash for None."""
    if value is None:
        return "–"
    if not unit:
        return f"{value:,.0f}"
    if unit == "%":
        return f"{value * 100:.2f} %"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"0 {unit}"
