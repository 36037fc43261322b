"""Looks at a run from outside: the lines its processes append, the answers of its control sockets, its counters.

Nothing here slows the run: files are read as they grow, sockets are asked once a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testbed import control
from testbed.dashboard import counters
from testbed.dashboard.drawing import draw, locate
from testbed.dashboard.state import View
from testbed.errors import InputError
from testbed.run.directory import RunDirectory
from testbed.units import parse_rate

_ASK_EVERY_S = 1.0
_COUNT_EVERY_S = 0.5
_LONGEST_READ_BYTES = 1 << 20
Seen = tuple[str, dict[str, Any]]


class Tail:
    """The new whole lines of a file that grows; one that was cut is read from its start."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects that came since the last call, at most a megabyte of them."""
        try:
            with self._path.open("rb") as stream:
                if stream.seek(0, 2) < self._offset:
                    self._offset = 0
                stream.seek(self._offset)
                data = stream.read(_LONGEST_READ_BYTES)
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for line in data[:whole].splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # only a file changed by another hand has such a line; the page can do without it
                continue


class Watcher:
    """One run, live or over."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.ended = False
        self._tails: dict[Path, tuple[str, Tail]] = {}
        self._asked = self._counted = 0.0
        self._traffic: counters.Traffic | None = None
        self._plan: dict[str, Any] | None = None
        self._drawing: dict[str, Any] | None = None
        self._came_up = False

    def view(self) -> View | None:
        """Return a fresh view as soon as the run's plan is there."""
        if not self.directory.plan.exists():
            return None
        self._plan = json.loads(self.directory.plan.read_text(encoding="utf-8"))
        self._drawing = draw(self._plan)
        about = {"name": self.directory.path.name, "boxes": self.boxes(), "captures": [], "report": False}
        return View(about, self._drawing, locate(self._plan))

    def boxes(self) -> list[str]:
        """Return the names of the boxes, in the plan's order; `view` comes first."""
        return [node["name"] for node in (self._plan or {}).get("nodes", ()) if node["kind"] == "box"]

    def poll(self) -> list[Seen]:
        """Return what happened since the last call."""
        found = list(self._files())
        now = time.monotonic()
        if self.ended:
            return found
        if now - self._counted >= _COUNT_EVERY_S:
            self._counted = now
            found += self._count(now)
        if now - self._asked >= _ASK_EVERY_S:
            self._asked = now
            found += self._ask()
        if self.directory.result.exists():
            self.ended = True
            found += list(self._files())
            found.append(("end", _end(self.directory)))
            if self._drawing is not None:
                found.append(("traffic", {"edges": [[0.0, 0.0] for _ in self._drawing["edges"]]}))
        return found

    def all_lines(self) -> list[Seen]:
        """Return every line of every file of a run that is over."""
        found: list[Seen] = []
        while more := list(self._files()):
            found += more
        return found

    def ask_soon(self) -> None:
        """Ask the sockets at the next poll: something was changed."""
        self._asked = 0.0

    def _files(self) -> Iterator[Seen]:
        directory = self.directory
        sources = [(path, "decision") for path in sorted((directory.path / "work").glob("*.events.jsonl"))]
        sources += [(path, "attempt") for path in sorted((directory.path / "apps").glob("*.jsonl"))]
        for path, kind in [*sources, (directory.link_samples, "sample"), (directory.steps, "step")]:
            if path not in self._tails:
                self._tails[path] = (kind, Tail(path))
        for kind, tail in self._tails.values():
            for line in tail.lines():
                yield kind, line

    def _ask(self) -> Iterator[Seen]:
        answer = self._call("run", "status")
        if answer is not None:
            self._came_up = True
            yield "run", {**answer, "state": "running"}
        elif self.directory.result.exists():
            return
        elif not self._alive():
            self.ended = True
            yield "run", {"state": "failed", "why": ["it has ended and left no result"]}
            return
        elif self._came_up:
            yield "run", {"state": "ending"}
        for name in self.boxes():
            stats = self._call(name, "stats")
            if stats is not None:
                shown = ("packets", "decisions", "injected", "dropped", "queue_drops", "policy", "disabled", "blocked")
                yield "box", {"name": name, **{key: stats.get(key) for key in shown}}
                if answer is None and not self._came_up:
                    yield "run", {"state": "running"}
        link = self._call("link", "get")
        if link is not None:
            loss = link["link"]["down"].get("loss", 0.0)
            yield "link", {"shaped": True, "cut": loss >= 1.0, **_rates(link["link"])}

    def _alive(self) -> bool:
        try:
            about = json.loads((self.directory.path / "sandbox.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return True  # not up yet
        return Path(f"/proc/{about['unshare']}").exists()

    def _call(self, name: str, operation: str) -> dict[str, Any] | None:
        path = self.directory.control(name)
        if not path.exists():
            return None
        try:
            return control.call(path, {"op": operation}, timeout_s=1.0)
        except (OSError, InputError, ValueError):
            return None

    def _count(self, now: float) -> Iterator[Seen]:
        if self._traffic is None and self._drawing is not None:
            pids = counters.processes(self.directory)
            if pids:
                self._traffic = counters.Traffic(self._drawing["edges"], pids)
        if self._traffic is not None:
            yield "traffic", {"edges": self._traffic.rates(now)}


def _rates(link: dict[str, Any]) -> dict[str, float]:
    """Return what a link that knows no hours carries: its samples say the same, up to a third of a second later."""
    sides = {way: link[way] for way in ("up", "down")}
    return {
        f"rate_{way}": parse_rate(side["rate"])
        for way, side in sides.items()
        if side.get("rate") and not side.get("by_clock")
    }


def _end(directory: RunDirectory) -> dict[str, Any]:
    result = json.loads(directory.result.read_text(encoding="utf-8"))
    return {**result, "moments": sorted({line["t"] for line in Tail(directory.steps).lines()})}


def as_it_was(directory: RunDirectory, t: float) -> View | None:
    """Return a finished run's view as it was at a moment, in seconds from its start; None if it has no plan."""
    watcher = Watcher(directory)
    view = watcher.view()
    if view is None:
        return None
    boxes: dict[str, dict[str, Any]] = {}
    for box in watcher.boxes():
        config = directory.path / "work" / f"{box}.config.json"
        if config.exists():
            policy = Path(json.loads(config.read_text(encoding="utf-8"))["policy"]).stem
            boxes[box] = {"name": box, "policy": policy, "disabled": [], "blocked": []}
            view.see("box", boxes[box])
    records = sorted(watcher.all_lines(), key=lambda seen: _when(*seen))
    for kind, record in records:
        if _when(kind, record) > t:
            break
        view.see(kind, record)
        if kind == "step":
            step = record["step"]
            name = str(step.get("box", "gateway"))
            if name in boxes or "policy" in step:
                boxes[name] = _after(boxes.get(name, {"name": name, "disabled": [], "blocked": []}), step)
                view.see("box", boxes[name])
            if "network" in step:
                view.see("link", {"cut": step["network"] == "down"})
    view.see("end", _end(directory))
    return view


def _after(box: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    """Return a box as it is after a step, by its own rules: a new policy has all its rules, names typed in stay."""
    disabled, blocked = list(box["disabled"]), list(box["blocked"])
    if "policy" in step:
        box, disabled = {**box, "policy": Path(str(step["policy"])).stem}, []
    for word, names, kept in (
        ("disable", disabled, True), ("enable", disabled, False), ("block", blocked, True), ("unblock", blocked, False),
    ):  # fmt: skip
        if word in step:
            names[:] = [name for name in names if name != step[word]] + ([step[word]] if kept else [])
    return {**box, "disabled": sorted(disabled), "blocked": blocked}


def _when(kind: str, record: dict[str, Any]) -> float:
    """Return when a record was known: an attempt, when it ended."""
    return float(record["t"]) + float(record["duration_s"] if kind == "attempt" else 0.0)
