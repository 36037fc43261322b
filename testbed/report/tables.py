"""A run directory as tables: what reports, plots, CSV files and notebooks read. Needs nothing but the run's files.

>>> run = testbed.load_run("runs/imo-goes-dark-20260102-030405")      # doctest: +SKIP
>>> run.apps.to_pandas().groupby(["name", "phase"]).verdict.value_counts()      # doctest: +SKIP

A table is a sequence of plain dicts, so that a notebook needs no pandas; `to_pandas()` needs it.
"""

from __future__ import annotations

import csv
import html
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

from testbed.errors import InputError, MachineError, Problem
from testbed.run.directory import RunDirectory, open_run, read_lines

Row = Mapping[str, Any]
_LINK_COLUMNS = (
    "t", "interval_s", "direction", "rate_bps", "throughput_bps", "queue_bytes", "queue_s", "entered", "lost",
    "overflowed",
)  # fmt: skip
_EVENT_COLUMNS = ("t", "box", "rule", "verdict", "flow", "reason", "evidence", "injections", "frames")
_APP_COLUMNS = (
    "t", "duration_s", "phase", "name", "app", "node", "verdict", "failure", "operation", "blocking", "goodput_bps",
)  # fmt: skip


class Table(Sequence[Row]):
    """Rows of one kind, in time order, with the columns each row has."""

    def __init__(self, name: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        self.name, self.columns = name, tuple(columns)
        self._rows = [{column: row.get(column) for column in self.columns} for row in rows]

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return list(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def column(self, name: str) -> list[Any]:
        """Return the values of one column; `KeyError` if there is no such column."""
        if name not in self.columns:
            raise KeyError(f"no column {name!r} in {self.name}; there are {', '.join(self.columns)}")
        return [row[name] for row in self._rows]

    def where(self, **wanted: Any) -> Table:
        """Return the rows whose columns have the given values."""
        rows = (row for row in self._rows if all(row[key] == value for key, value in wanted.items()))
        return Table(self.name, self.columns, rows)

    def to_csv(self, target: str | Path | IO[str]) -> None:
        """Write RFC 4180 text with a header line; what is not a number or text is written as JSON."""
        if isinstance(target, (str, Path)):
            with Path(target).open("w", encoding="utf-8", newline="") as stream:
                self.to_csv(stream)
            return
        writer = csv.writer(target)
        writer.writerow(self.columns)
        writer.writerows([_cell(row[column]) for column in self.columns] for row in self._rows)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`; `MachineError` where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise MachineError("pandas is not installed", "pip install pandas, or use the rows as they are") from None
        return pandas.DataFrame(self._rows, columns=list(self.columns))

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self)} rows of {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        """Show the first rows in a notebook."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(_cell(row[c])))}</td>" for c in self.columns) + "</tr>"
            for row in self._rows[:20]
        )
        return f"<p>{html.escape(repr(self))}</p><table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, (dict, list)) else value


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: its result as written, and what happened as tables. Times `t` are seconds since its start."""

    path: Path
    result: Mapping[str, Any]
    phases: Table
    """name, start_s, end_s, policies"""
    expectations: Table
    """phase, app, expected, observed, holds, why"""
    apps: Table
    """One row an attempt; `goodput_bps` where it moved bytes."""
    kpis: Table
    """One row a figure of an attempt: t, phase, name, kpi, value."""
    decisions: Table
    """What the censor did, with rule, evidence and capture frames."""
    steps: Table
    """The steps of the timeline, as they were taken: t, step."""
    link: Table
    """The national link ten times a second and direction; empty where there was none."""
    rtt: Table
    """The round trip that a small packet would have met at t: delays plus what waits in both queues."""
    round_trips: Table
    """One row a round trip that was measured: t of the answer, rtt_s, flow, kind (`syn`, `data`, `timestamp`, `dns`,
    `quic` in the capture; `link` where there was none: what the link's log says of half a second)."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables."""
        return (
            self.phases, self.expectations, self.apps, self.kpis, self.decisions, self.steps, self.link, self.rtt,
            self.round_trips,
        )  # fmt: skip


def load_run(path: str | Path) -> Run:
    """Read a run directory; `InputError` if it is none, or if the run did not come to its end."""
    directory = open_run(path)
    if not directory.result.exists():
        raise InputError([Problem(str(path), "has no result.json", "the run did not end; look into its logs/")])
    return from_directory(directory, json.loads(directory.result.read_text(encoding="utf-8")))


def from_directory(directory: RunDirectory, result: Mapping[str, Any]) -> Run:
    """Read a run directory beside a result that may not be written yet."""
    events = list(read_lines(directory.events))
    samples = list(read_lines(directory.link_samples))
    apps = [{**attempt, "goodput_bps": goodput(attempt)} for attempt in result["apps"]]
    kpis = [
        {"t": a["t"], "phase": a.get("phase"), "name": a["name"], "kpi": key, "value": value}
        for a in apps
        for key, value in a["kpis"].items()
    ]
    return Run(
        directory.path, result,
        Table("phases", ("name", "start_s", "end_s", "policies"), result["phases"]),
        Table("expectations", ("phase", "app", "expected", "observed", "holds", "why"), result["expectations"]),
        Table("apps", _APP_COLUMNS, apps),
        Table("kpis", ("t", "phase", "name", "kpi", "value"), kpis),
        Table("decisions", _EVENT_COLUMNS, (event for event in events if "rule" in event)),
        Table("steps", ("t", "step"), (event for event in events if "step" in event)),
        Table("link", _LINK_COLUMNS, link_rows(samples)),
        Table("rtt", ("t", "rtt_s"), rtt_rows(samples)),
        Table("round_trips", ("t", "rtt_s", "flow", "kind"), read_lines(directory.round_trips)),
    )  # fmt: skip


def goodput(attempt: Mapping[str, Any]) -> float | None:
    """Return the useful bits a second of an attempt that moved bytes."""
    kpis = attempt.get("kpis", {})
    if "goodput_bps" in kpis:
        return float(kpis["goodput_bps"])
    moved = kpis.get("bytes")
    return moved * 8 / attempt["duration_s"] if moved and attempt["duration_s"] > 0 else None


def link_rows(samples: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Turn the link's counters into what happened between one sample and the next, each direction its row.

    `entered`, `lost` (on the way) and `overflowed` (the queue was full) count packets of the interval; `queue_s` is how
    long the queue's contents take to send at the rate in force.
    """
    for before, after in itertools.pairwise(samples):
        interval_s = after["t"] - before["t"]
        if interval_s <= 0:
            continue
        for direction in ("up", "down"):
            old, new = before[direction], after[direction]
            rate = new["rate_bps"]
            yield {
                "t": after["t"], "interval_s": interval_s, "direction": direction, "rate_bps": rate,
                "throughput_bps": (new["arrived_bytes"] - old["arrived_bytes"]) * 8 / interval_s,
                "queue_bytes": new["queue_bytes"], "queue_s": new["queue_bytes"] * 8 / rate if rate else 0.0,
                **{key: new[key] - old[key] for key in ("entered", "lost", "overflowed")},
            }  # fmt: skip


def rtt_rows(samples: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    """Return the round trip over the link at each sample: both delays, and both queues at their rates."""
    for sample in samples:
        sides = (sample["up"], sample["down"])
        waits = (side["queue_bytes"] * 8 / side["rate_bps"] if side["rate_bps"] else 0.0 for side in sides)
        yield {"t": sample["t"], "rtt_s": sum(side["delay_s"] for side in sides) + sum(waits)}
