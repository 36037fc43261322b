"""The result in a terminal: one row an app, one column a phase."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Result = Mapping[str, Any]
_STYLES = {"ok": "green", "slow": "yellow", "blocked": "red", "-": "dim"}
STATUS_STYLES = {"passed": "bold green", "failed": "bold red", "invalid": "bold magenta", "interrupted": "bold yellow"}
#: The figure that tells most about each kind of app, and its unit.
HEADLINE_KPIS = {
    "delivery_s": "s", "mos": "MOS", "load_s": "s", "goodput_bps": "bit/s", "startup_s": "s", "resolve_s": "s",
}  # fmt: skip


def summarise(results: Iterable[Result]) -> tuple[str, str]:
    """Return the worst verdict among results and the reason or figure to show beside it; `-` if there are none."""
    ranked = sorted(results, key=lambda item: ("ok", "slow", "blocked").index(item["verdict"]))
    if not ranked:
        return "-", ""
    worst = ranked[-1]
    if worst.get("failure"):
        return worst["verdict"], str(worst.get("kpis", {}).get("error") or worst["failure"])
    for name, unit in HEADLINE_KPIS.items():
        value = worst.get("kpis", {}).get(name)
        if value is not None:
            return worst["verdict"], f"{unit} {value:.1f}" if unit == "MOS" else f"{_number(value)} {unit}"
    return worst["verdict"], ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def table(result: Result) -> Table:
    """Return the table of apps and phases."""
    grid = Table(title=result["title"], title_justify="left", title_style="bold", pad_edge=False)
    grid.add_column("app")
    for phase in result["phases"]:
        grid.add_column(f"{phase['name']}\n{round(phase['start_s'], 1):g}-{round(phase['end_s'], 1):g} s")
    for app in sorted({item["name"] for item in result["apps"]}):
        cells = [Text(app)]
        for phase in result["phases"]:
            verdict, detail = summarise(
                r for r in result["apps"] if r["name"] == app and r.get("phase") == phase["name"]
            )
            cells.append(Text(f"{verdict}\n{detail}" if detail else verdict, style=_STYLES[verdict]))
        grid.add_row(*cells)
    return grid


def render(result: Result) -> RenderableType:
    """Return the whole summary: table, what failed, fidelity, and the outcome."""
    parts: list[RenderableType] = [table(result)]
    for item in result["expectations"]:
        if not item["holds"]:
            parts.append(Text(f"✗ {item['phase']} / {item['app']}: {item['why']}", style="red"))
    decisions = result["decisions"]
    rules = ", ".join(f"{rule} {count}" for rule, count in sorted(decisions["by_rule"].items()))
    parts.append(Text(f"censor: {decisions['total']} decisions" + (f" ({rules})" if rules else "")))
    parts.append(Text(f"link: {_fidelity(result['fidelity'])}"))
    held = sum(bool(item["holds"]) for item in result["expectations"])
    status = result["status"]
    outcome = Text(f"{status}: ", style=STATUS_STYLES[status])
    parts.append(outcome + Text(f"{held} of {len(result['expectations'])} expectations hold", style="default"))
    parts.extend(Text(f"  {why}", style="magenta") for why in result["why"])
    return Group(*parts)


def _fidelity(fidelity: Mapping[str, Any]) -> str:
    if fidelity.get("backend") == "none":
        return "unshaped"
    if "faithful" not in fidelity:
        return "not measured"
    return "faithful" if fidelity["faithful"] else "NOT faithful: " + "; ".join(fidelity.get("reasons", []))
