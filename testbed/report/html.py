"""The result as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from testbed.report.text import summarise

_COLOURS = {"ok": "#1a7f37", "slow": "#b58900", "blocked": "#c0392b", "-": "#8a8a8a"}
_ROW_PX = 22
_WIDTH_PX = 900


def render(result: Mapping[str, Any], events: list[dict[str, Any]]) -> str:
    """Return the page for a result and the decisions that led to it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    names = sorted({item["name"] for item in result["apps"]})
    cells = {
        (name, phase["name"]): summarise(
            item for item in result["apps"] if item["name"] == name and item.get("phase") == phase["name"]
        )
        for name in names
        for phase in result["phases"]
    }
    return environment.get_template("report.html.j2").render(
        result=result, names=names, cells=cells, colours=_COLOURS, timeline=timeline(result, names),
        events=events[:500], hidden=max(0, len(events) - 500),
    )  # fmt: skip


def timeline(result: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the bars of the timeline drawing: x, width in pixels, row, colour and hover text of each app result."""
    scale = _WIDTH_PX / max(result["duration_s"], 1e-9)
    bars = [
        {
            "x": round(item["t"] * scale, 2),
            "width": max(2.0, round(item["duration_s"] * scale, 2)),
            "y": names.index(item["name"]) * _ROW_PX + _ROW_PX,
            "colour": _COLOURS[item["verdict"]],
            "title": f"{item['name']} at {item['t']:.1f} s: {item['verdict']} {item.get('failure') or ''}".strip(),
        }
        for item in result["apps"]
    ]
    phases = [
        {"x": round(p["start_s"] * scale, 2), "name": p["name"], "policy": ", ".join(p["policies"].values())}
        for p in result["phases"]
    ]
    return {
        "bars": bars, "phases": phases, "width": _WIDTH_PX, "row": _ROW_PX,
        "height": (len(names) + 2) * _ROW_PX, "labels": names,
    }  # fmt: skip
