"""Two runs side by side: what changed in verdicts, figures and decisions, and whether the second is worse. Pure.

Worse is: an app's worst verdict in a phase went down (ok, slow, blocked), an expectation stopped holding, or the median
of a figure with a known good direction moved the wrong way by more than the tolerance while the verdict stayed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from testbed.report.tables import Run

TOLERANCE = 0.25
_RANKS = ("ok", "slow", "blocked")
_LOWER_IS_BETTER = {
    "delivery_s", "load_s", "startup_s", "resolve_s", "connect_s", "stalled_s", "stalls", "loss", "jitter_s", "delay_s",
}  # fmt: skip
_HIGHER_IS_BETTER = {"mos", "goodput_bps"}
Change = Literal["worse", "better", "changed"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs. `what`: a verdict, an expectation, the name of a figure, `decisions` or `status`."""

    what: str
    where: str
    before: str
    after: str
    change: Change

    def as_json(self) -> dict[str, str]:
        """Return plain data."""
        return asdict(self)


def compare(a: Run, b: Run, tolerance: float = TOLERANCE) -> list[Difference]:
    """Return how `b` differs from `a`, what is worse first."""
    found = [*_verdicts(a, b), *_expectations(a, b), *_figures(a, b, tolerance), *_decisions(a, b)]
    if a.result["status"] != b.result["status"]:
        change: Change = "worse" if a.result["status"] == "passed" else "changed"
        change = "better" if b.result["status"] == "passed" else change
        found.append(Difference("status", "the run", a.result["status"], b.result["status"], change))
    return sorted(found, key=lambda difference: ("worse", "better", "changed").index(difference.change))


def _worst(run: Run) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for row in run.apps:
        if row["phase"] is not None:
            key = (row["phase"], row["name"])
            found[key] = max(found.get(key, "ok"), row["verdict"], key=_RANKS.index)
    return found


def _verdicts(a: Run, b: Run) -> Iterable[Difference]:
    before, after = _worst(a), _worst(b)
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if old is None or new is None:
            yield Difference("verdict", " / ".join(key), old or "not judged", new or "not judged", "changed")
        else:
            worse = _RANKS.index(new) > _RANKS.index(old)
            yield Difference("verdict", " / ".join(key), old, new, "worse" if worse else "better")


def _expectations(a: Run, b: Run) -> Iterable[Difference]:
    def held(run: Run) -> dict[tuple[str, str, str], bool]:
        return {(row["phase"], row["app"], row["expected"]): bool(row["holds"]) for row in run.expectations}

    before, after = held(a), held(b)
    words = {True: "holds", False: "fails"}
    for key in sorted({*before} & {*after}):
        if before[key] != after[key]:
            where = f"{key[0]} / {key[1]} is {key[2]}"
            change: Change = "worse" if before[key] else "better"
            yield Difference("expectation", where, words[before[key]], words[after[key]], change)


def _medians(run: Run) -> dict[tuple[str, str, str], float]:
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in run.kpis:
        if row["phase"] is not None and isinstance(row["value"], (int, float)):
            values.setdefault((row["phase"], row["name"], row["kpi"]), []).append(float(row["value"]))
    return {key: statistics.median(found) for key, found in values.items()}


def _figures(a: Run, b: Run, tolerance: float) -> Iterable[Difference]:
    before, after = _medians(a), _medians(b)
    for key in sorted({*before} & {*after}):
        old, new = before[key], after[key]
        scale = max(abs(old), abs(new))
        known = key[2] in _LOWER_IS_BETTER or key[2] in _HIGHER_IS_BETTER
        if not known or scale == 0 or abs(new - old) / scale <= tolerance:
            continue
        worse = (new > old) == (key[2] in _LOWER_IS_BETTER)
        yield Difference(key[2], f"{key[0]} / {key[1]}", f"{old:.4g}", f"{new:.4g}", "worse" if worse else "better")


def _decisions(a: Run, b: Run) -> Iterable[Difference]:
    before: Mapping[str, Any] = a.result["decisions"]["by_rule"]
    after: Mapping[str, Any] = b.result["decisions"]["by_rule"]
    for rule in sorted({*before, *after}):
        if before.get(rule, 0) != after.get(rule, 0):
            yield Difference("decisions", rule, str(before.get(rule, 0)), str(after.get(rule, 0)), "changed")
