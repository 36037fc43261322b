"""The plots of a run, by matplotlib: as figures for files (SVG, PNG) and as inline SVG that follows a page's colours.

Colours are Okabe and Ito's (2008), which the colour-blind tell apart; verdicts differ by hatching too, for black and
white print. matplotlib is the extra `plots`; without it reports have tables only, and say so.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.errors import MachineError
from testbed.report.tables import Row, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERDICT_COLOURS = {"ok": "#009e73", "slow": "#e69f00", "blocked": "#d55e00"}
_HATCHES = {"ok": "", "slow": "//", "blocked": "xx"}
_DIRECTION_COLOURS = {"up": "#2b8cc4", "down": "#cc79a7"}
_CYCLE = ("#2b8cc4", "#cc79a7", "#009e73", "#e69f00", "#56b4e9", "#d55e00", "#999999")
_TRIPS = {
    "data": ("o", "#009e73", "TCP data"), "timestamp": (".", "#e69f00", "TCP timestamps"),
    "syn": ("^", "#d55e00", "TCP SYN"), "dns": ("s", "#56b4e9", "DNS"), "quic": ("D", "#cc79a7", "QUIC"),
    "link": ("x", "#999999", "the link's log, no capture"),
}  # fmt: skip
"""Kinds of round trips: marker, colour, what the legend calls them."""
_INK = "#0a0b0c"
"""A colour nobody uses, put in for text and lines and replaced by `currentColor` in inline SVG."""
_BINS = 240
_WIDTH_IN = 9.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, the title above it, in words what it shows, and what one must know to read it."""

    name: str
    title: str
    alt: str
    figure: Figure
    note: str = ""


def prepare() -> None:
    """Load matplotlib, which takes half a second, at a time when nobody waits for it."""
    with contextlib.suppress(ImportError):
        importlib.import_module("matplotlib.figure")


def plots(run: Run, ink: str = "black") -> list[Plot]:
    """Return the plots that a run has data for; `MachineError` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        mend = "pip install 'turkmenistan-testbed[plots]'"
        raise MachineError("matplotlib is not installed, so there are no plots", mend) from None
    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "testbed", "font.family": "sans-serif", "font.size": 9,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.2,
        "hatch.linewidth": 0.6, "legend.frameon": False, "hatch.color": "white",
    }  # fmt: skip
    for key in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"):
        settings[key] = ink
    with matplotlib.rc_context(settings):
        return [plot for draw in _DRAWN if (plot := draw(run)) is not None]


def inline_svg(plot: Plot) -> str:
    """Return SVG to stand in an HTML page, in the page's own colour of text, with nothing to fetch."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "testbed"}):
        plot.figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r"<svg ", f'<svg role="img" aria-label="{plot.alt}" ', text, count=1)
    # ids are unique within a figure only, and a page holds several
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{plot.name}-", text)
    return text.replace(_INK, "currentColor")


def inline(run: Run) -> list[tuple[Plot, str]]:
    """Return each plot with its inline SVG."""
    return [(plot, inline_svg(plot)) for plot in plots(run, ink=_INK)]


def save(run: Run, folder: Path) -> list[Path]:
    """Write every plot as SVG and PNG (150 dpi) into a folder; return the files."""
    written: list[Path] = []
    for plot in plots(run):
        for kind, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 150})):
            path = folder / f"{plot.name}.{kind}"
            plot.figure.savefig(path, format=kind, facecolor="white", **options)
            written.append(path)
    return written


def _canvas(run: Run, height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, max(float(run.result["duration_s"]), 1e-3))
    axes.set_xlabel("seconds since the start")
    for number, phase in enumerate(run.phases):
        if number % 2:
            axes.axvspan(phase["start_s"], phase["end_s"], color="#888888", alpha=0.12, linewidth=0)
    return figure, axes


def _name_phases(run: Run, axes: Axes) -> None:
    for phase in run.phases:
        if phase["start_s"] >= run.result["duration_s"]:
            continue  # the run was ended before it
        middle = (phase["start_s"] + min(phase["end_s"], run.result["duration_s"])) / 2
        axes.text(middle, 1.01, phase["name"], transform=axes.get_xaxis_transform(), ha="center", va="bottom", size=8)


def _timeline(run: Run) -> Plot | None:
    names = list(dict.fromkeys(run.apps.column("name")))
    rules = sorted({d["rule"] for d in run.decisions if d["rule"] != "policy"})
    if not names and not rules:
        return None
    figure, axes = _canvas(run, 1.5 + 0.26 * (len(names) + len(rules)))
    for row, name in enumerate(names):
        for verdict, colour in VERDICT_COLOURS.items():
            bars = [(a["t"], max(a["duration_s"], 0.2)) for a in run.apps.where(name=name, verdict=verdict)]
            if bars:
                axes.broken_barh(bars, (row - 0.36, 0.72), facecolors=colour, hatch=_HATCHES[verdict])
    for row, rule in enumerate(rules, len(names)):
        times = run.decisions.where(rule=rule).column("t")
        ink = axes.spines.left.get_edgecolor()
        axes.plot(times, [row] * len(times), linestyle="", marker="|", markersize=9, color=ink)
    axes.set_yticks(range(len(names) + len(rules)), [*names, *(f"rule {rule}" for rule in rules)])
    axes.set_ylim(len(names) + len(rules) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    _name_phases(run, axes)
    _legend_of_verdicts(axes)
    return Plot("timeline", "Apps and decisions", "When each app tried and how it went, when each rule acted", figure)


def _legend_of_verdicts(axes: Axes) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=colour, hatch=_HATCHES[name], label=name) for name, colour in VERDICT_COLOURS.items()]
    axes.legend(handles=patches, loc="lower right", bbox_to_anchor=(1, 1.06), ncols=3, fontsize=8)


def _binned(
    rows: Sequence[Row], width_s: float, value: Callable[[Sequence[Row]], float | None]
) -> tuple[list[float], list[float]]:
    """Gather rows into intervals and reduce each; intervals without a value are left out."""
    bins: dict[int, list[Row]] = {}
    for row in rows:
        bins.setdefault(int(row["t"] / width_s), []).append(row)
    found = [((number + 0.5) * width_s, value(members)) for number, members in sorted(bins.items())]
    kept = [(t, reduced) for t, reduced in found if reduced is not None]
    return [t for t, _ in kept], [reduced for _, reduced in kept]


def _per_direction(
    run: Run, height_in: float, value: Callable[[Sequence[Row]], float | None], least: float = 1.0
) -> tuple[Figure, Axes] | None:
    """Draw a value of each direction; the axis reaches at least to `least`, so that nothing looks like something."""
    if not len(run.link):
        return None
    figure, axes = _canvas(run, height_in)
    width_s = max(0.5, float(run.result["duration_s"]) / _BINS)
    highest = least
    for direction, colour in _DIRECTION_COLOURS.items():
        times, values = _binned(run.link.where(direction=direction), width_s, value)
        axes.plot(times, values, color=colour, linewidth=1.2, label=direction)
        highest = max([highest, *values])
    axes.set_ylim(0, highest * 1.1)
    axes.legend(loc="upper right", ncols=3, fontsize=8)
    return figure, axes


def _megabits(rows: Sequence[Row]) -> float:
    """Return the mean throughput; an idle link is sampled more rarely, so an interval counts by its length."""
    return float(sum(r["throughput_bps"] * r["interval_s"] for r in rows) / sum(r["interval_s"] for r in rows) / 1e6)


def _rate(run: Run) -> Plot | None:
    drawn = _per_direction(run, 2.3, _megabits, 1e-3)
    if drawn is None:
        return None
    figure, axes = drawn
    asked = [(row["t"], row["rate_bps"] / 1e6) for row in run.link.where(direction="down") if row["rate_bps"]]
    top = axes.get_ylim()[1]
    near = [limit for _, limit in asked if limit <= 5 * top]
    if near:  # what is far above would press the curves flat: there the line leaves the picture
        times, limits = zip(*asked, strict=True)
        axes.set_ylim(0, max(top, max(near) * 1.05))
        axes.step(times, limits, where="pre", color="#888888", linestyle="--", linewidth=1, label="limit down")
        axes.legend(loc="upper right", ncols=3, fontsize=8)
    axes.set_ylabel("Mbit/s")
    return Plot("rate", "Rate of the national link", "Throughput of the national link over time, up and down", figure)


def _queue(run: Run) -> Plot | None:
    drawn = _per_direction(run, 2.0, lambda rows: max(r["queue_bytes"] for r in rows) / 1e3)
    if drawn is None:
        return None
    drawn[1].set_ylabel("kB waiting")
    return Plot("queue", "Queue of the national link", "Bytes waiting before the link over time, each way", drawn[0])


def _rtt(run: Run) -> Plot | None:
    if not len(run.rtt) and not len(run.round_trips):
        return None
    figure, axes = _canvas(run, 2.6)
    width_s = max(0.5, float(run.result["duration_s"]) / _BINS)
    if len(run.rtt):
        times, values = _binned(run.rtt, width_s, lambda rows: max(r["rtt_s"] for r in rows) * 1e3)
        axes.plot(times, values, color=_CYCLE[0], linewidth=1.2, label="the link: delay + queue")
    for kind, (marker, colour, label) in _TRIPS.items():
        shown = _spread(run.round_trips.where(kind=kind), width_s)
        if shown:
            ms = [row["rtt_s"] * 1e3 for row in shown]
            axes.plot([row["t"] for row in shown], ms, marker, color=colour, markersize=3.5, label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    alt = "Round trips measured over the link, and its delay plus what waits in its queues"
    return Plot("rtt", "Round trip over the link", alt, figure, _source_of_trips(run, width_s))


def _spread(rows: Sequence[Row], width_s: float) -> list[Row]:
    """Return of each interval the smallest, the middle and the largest, so that a page stays small."""
    bins: dict[int, list[Row]] = {}
    for row in rows:
        bins.setdefault(int(row["t"] / width_s), []).append(row)
    kept: list[Row] = []
    for _, members in sorted(bins.items()):
        members.sort(key=lambda row: float(row["rtt_s"]))
        kept += [members[place] for place in sorted({0, len(members) // 2, len(members) - 1})]
    return kept


def _source_of_trips(run: Run, width_s: float) -> str:
    """Say where the dots come from: measured, or put together out of the link's log, or from nowhere."""
    line = " Line: the link's own delay and what waited in its queues." if len(run.rtt) else ""
    kinds = set(run.round_trips.column("kind"))
    if kinds == {"link"}:
        return (
            "Not measured: the run has no capture (--no-capture). Crosses: the median time over the link up plus the "
            f"median down, each half second, by the link's own log of departures.{line}"
        )
    if not kinds:
        return f"No round trip was measured.{line}"
    return (
        f"Dots: {len(run.round_trips)} round trips measured in the capture before the link, of each kind in "
        f"{width_s:g} s the smallest, the middle and the largest.{line}"
    )


def _loss(run: Run) -> Plot | None:
    def share(rows: Sequence[Row]) -> float | None:
        entered = sum(r["entered"] for r in rows)
        return 100 * sum(r["lost"] + r["overflowed"] for r in rows) / entered if entered else None

    drawn = _per_direction(run, 1.8, share)
    if drawn is None:
        return None
    drawn[1].set_ylabel("% of packets")
    return Plot("loss", "Loss on the link", "Share of packets lost on the way or to a full queue", drawn[0])


def _goodput(run: Run) -> Plot | None:
    moved = [row for row in run.apps if row["goodput_bps"]]
    if not moved:
        return None
    figure, axes = _canvas(run, 2.3)
    for number, name in enumerate(dict.fromkeys(row["name"] for row in moved)):
        colour = _CYCLE[number % len(_CYCLE)]
        for index, row in enumerate(row for row in moved if row["name"] == name):
            span, height = (row["t"], row["t"] + row["duration_s"]), row["goodput_bps"] / 1e3
            label = name if index == 0 else None
            axes.plot(span, (height, height), color=colour, linewidth=2.5, solid_capstyle="butt", label=label)
    values = [row["goodput_bps"] for row in moved]
    if max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    else:
        axes.set_ylim(0, max(values) / 1e3 * 1.1)
    axes.set_ylabel("kbit/s, each attempt")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return Plot("goodput", "Throughput per app", "Useful bits a second of each attempt of each app", figure)


_DRAWN: tuple[Callable[[Run], Plot | None], ...] = (_timeline, _rate, _queue, _rtt, _loss, _goodput)
