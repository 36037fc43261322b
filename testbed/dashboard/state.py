"""What the live page shows, as a function of what happened: records in, a snapshot and its changes out. Pure.

A browser that comes takes the `snapshot`; from then on it takes `changes`, each the difference to the one before. Both
are plain data and bounded, however long the run lasts and however much happens.

Records, by kind: `decision` (a box's event line), `attempt` (an app's result line), `sample` (the link's), `step` (the
timeline's), `run` (the answer of the run's control socket), `box` (name and stats), `link` (whether it is shaped by us,
whether it is cut), `traffic` (packets a second of each edge), `end` (the result, with the `moments` at which steps were
taken). An unknown kind is an error of ours and raises `KeyError`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from testbed.report.text import summarise
from testbed.report.why import endpoints

KEPT_DECISIONS = 300
DECISIONS_A_CHANGE = 80
KEPT_POINTS = 1200
"""Two minutes of the link at ten samples a second."""
KEPT_ATTEMPTS = 40
_EFFECTS = {"drop": "drop", "throttle": "throttle", "delay": "delay"}
Record = Mapping[str, Any]


class View:
    """The page's state for one run. `drawing` and `locate` come from `drawing`; both may be missing."""

    def __init__(
        self, about: Mapping[str, Any], drawing: Mapping[str, Any] | None = None,
        locate: Callable[[str], str | None] = lambda address: None,
    ) -> None:  # fmt: skip
        self._about, self._drawing, self._locate = dict(about), drawing, locate
        self._run: dict[str, Any] = {"state": "starting"}
        self._link: dict[str, Any] = {}
        self._boxes: dict[str, dict[str, Any]] = {}
        self._apps: dict[str, dict[str, Any]] = {}
        self._steps: list[Record] = []
        self._traffic: list[list[float]] = []
        self._rules: dict[str, int] = {}
        self._decisions: deque[dict[str, Any]] = deque(maxlen=KEPT_DECISIONS)
        self._points: deque[list[float | None]] = deque(maxlen=KEPT_POINTS)
        self._last_sample: Record | None = None
        self._number = 0
        self._fresh_decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_A_CHANGE)
        self._fresh_points: list[list[float | None]] = []
        self._fresh_count = 0
        self._changed: set[str] = set()
        self._changed_apps: set[str] = set()

    def see(self, kind: str, record: Record) -> None:
        """Take one record in."""
        _SEEN[kind](self, record)

    def snapshot(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "about": self._about, "drawing": self._drawing, "run": self._run, "link": self._link, "boxes": self._boxes,
            "apps": self._apps, "steps": self._steps, "traffic": self._traffic, "rules": self._rules,
            "decisions": list(self._decisions), "points": list(self._points), "total": self._number,
        }  # fmt: skip

    def changes(self) -> dict[str, Any] | None:
        """Return what is new since the last call, None if nothing is.

        Of decisions at most `DECISIONS_A_CHANGE` are told one by one, the latest; `skipped` says how many are not.
        """
        parts = {
            "run": self._run, "link": self._link, "boxes": self._boxes, "steps": self._steps, "traffic": self._traffic,
            "rules": self._rules,
        }  # fmt: skip
        found: dict[str, Any] = {key: parts[key] for key in sorted(self._changed)}
        if self._changed_apps:
            found["apps"] = {name: self._apps[name] for name in sorted(self._changed_apps)}
        if self._fresh_points:
            found["points"] = self._fresh_points[-KEPT_POINTS:]
        if self._fresh_count:
            found["decisions"] = list(self._fresh_decisions)
            found["skipped"] = self._fresh_count - len(self._fresh_decisions)
            found["total"] = self._number
        self._changed, self._changed_apps = set(), set()
        self._fresh_points, self._fresh_count = [], 0
        self._fresh_decisions.clear()
        return found or None

    def _decision(self, event: Record) -> None:
        self._number += 1
        self._rules[event["rule"]] = self._rules.get(event["rule"], 0) + 1
        ends = [self._locate(address) for address in endpoints(event["flow"])]
        shown = {
            "n": self._number, "t": round(event["t"], 3), "box": event["box"], "rule": event["rule"],
            "verdict": event["verdict"], "effect": effect(event), "flow": event["flow"], "reason": event["reason"],
            "evidence": event["evidence"], "injections": event.get("injections", 0),
            "hash": event.get("trigger", {}).get("hash", ""), "ends": ends if len(ends) == 2 else [],
        }  # fmt: skip
        self._decisions.append(shown)
        self._fresh_decisions.append(shown)
        self._fresh_count += 1
        self._changed.add("rules")

    def _attempt(self, attempt: Record) -> None:
        app = self._apps.setdefault(
            attempt["name"],
            {"name": attempt["name"], "app": attempt["app"], "node": attempt["node"], "attempts": 0, "history": []},
        )
        verdict, detail = summarise([attempt])
        history = [*app["history"], {"t": attempt["t"], "verdict": verdict}][-KEPT_ATTEMPTS:]
        app.update(
            verdict=verdict, detail=detail, t=attempt["t"], kpis=attempt["kpis"], attempts=app["attempts"] + 1,
            history=history, failure=attempt.get("failure"), operation=attempt.get("operation"),
        )  # fmt: skip
        self._changed_apps.add(attempt["name"])

    def _sample(self, sample: Record) -> None:
        before, self._last_sample = self._last_sample, sample
        up, down = sample["up"], sample["down"]
        link = {
            "rate_up": up["rate_bps"], "rate_down": down["rate_bps"], "delay_s": up["delay_s"] + down["delay_s"],
            "lost": up["lost"] + down["lost"], "overflowed": up["overflowed"] + down["overflowed"],
        }  # fmt: skip
        if {**self._link, **link} != self._link:
            self._link |= link
            self._changed.add("link")
        if before is None or sample["t"] <= before["t"]:
            return
        passed_s = sample["t"] - before["t"]
        rates = [(sample[d]["arrived_bytes"] - before[d]["arrived_bytes"]) * 8 / passed_s for d in ("up", "down")]
        point = [
            sample["t"],
            *(round(rate) for rate in rates),
            up["queue_bytes"],
            down["queue_bytes"],
            down["rate_bps"],
        ]
        self._points.append(point)
        self._fresh_points.append(point)

    def _step(self, step: Record) -> None:
        self._steps = [*self._steps, step][-KEPT_DECISIONS:]
        if phase := step["step"].get("phase"):
            self._set("run", {"phase": phase})
        self._changed.add("steps")

    def _box(self, box: Record) -> None:
        name = str(box["name"])
        if self._boxes.get(name) != box:
            self._boxes[name] = dict(box)
            self._changed.add("boxes")

    def _seen_run(self, answer: Record) -> None:
        self._set("run", answer)

    def _seen_link(self, answer: Record) -> None:
        self._set("link", answer)

    def _set(self, part: str, values: Record) -> None:
        own: dict[str, Any] = getattr(self, f"_{part}")
        if any(own.get(key, own) != value for key, value in values.items()):
            own.update(values)
            self._changed.add(part)

    def _flows(self, record: Record) -> None:
        if record["edges"] != self._traffic:
            self._traffic = record["edges"]
            self._changed.add("traffic")

    def _end(self, result: Record) -> None:
        ended = {
            "state": "ended", "status": result["status"], "why": result["why"], "ended_s": result["duration_s"],
            "title": result["title"], "scenario": result["scenario"], "elapsed_s": result["duration_s"],
            "duration_s": result["duration_s"], "moments": result["moments"],
        }  # fmt: skip
        self._set("run", ended)


_SEEN: dict[str, Callable[[View, Record], None]] = {
    "decision": View._decision, "attempt": View._attempt, "sample": View._sample, "step": View._step, "box": View._box,
    "run": View._seen_run, "link": View._seen_link, "traffic": View._flows, "end": View._end,
}  # fmt: skip


def effect(event: Record) -> str:
    """Say in a word what a decision did to the flow: pass, drop, delay, throttle or inject."""
    if event["verdict"] in _EFFECTS:
        return _EFFECTS[event["verdict"]]
    return "inject" if event.get("injections") else "pass"


def replay(records: Iterable[tuple[str, Record]], view: View) -> View:
    """Let a view see many records; return it."""
    for kind, record in records:
        view.see(kind, record)
    return view
