"""Results against expectations. Pure.

An attempt belongs to the phase in which it began. One that was still going on when the next phase began is judged in
neither, because nobody can say which phase it shows.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.scenario.spec import Expectation
from testbed.scenario.timeline import Phase

_OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}


def place_in_phases(results: Sequence[Mapping[str, Any]], phases: Sequence[Phase]) -> list[dict[str, Any]]:
    """Return the results with `phase`: the phase's name, None for one that straddles two."""
    placed: list[dict[str, Any]] = []
    for result in results:
        phase = next((phase for phase in phases if phase.holds(result["t"])), None)
        straddles = phase is not None and phase is not phases[-1] and result["t"] + result["duration_s"] > phase.end_s
        placed.append({**result, "phase": None if phase is None or straddles else phase.name})
    return placed


def judge(expectations: Sequence[Expectation], placed: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each expectation what was expected, what was observed, whether it holds, and why not."""
    return [_judge_one(expectation, placed) for expectation in expectations]


def _judge_one(expectation: Expectation, placed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = [r for r in placed if r["name"] == expectation.app and r["phase"] == expectation.phase]
    wrong: list[str] = []
    if len(own) < expectation.at_least:
        wrong.append(f"{len(own)} attempts were judged, {expectation.at_least} expected")
    for result in own:
        wrong += _wrong(expectation, result)
    return {
        "phase": expectation.phase, "app": expectation.app, "expected": describe(expectation),
        "observed": ", ".join(_observed(result) for result in own) or "nothing", "holds": not wrong,
        "why": "; ".join(wrong),
    }  # fmt: skip


def _wrong(expectation: Expectation, result: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    at = f"at {result['t']:.1f} s"
    wanted = expectation.verdict
    if wanted is not None and result["verdict"] not in wanted:
        found.append(f"{_observed(result)} {at}")
    for key in ("failure", "blocking"):
        asked = getattr(expectation, key)
        if asked is not None and result.get(key) != asked:
            found.append(f"{key} {result.get(key)} {at}, not {asked}")
    for name, (sign, bound) in sorted(expectation.kpi.items()):
        value = result["kpis"].get(name)
        if value is None or not _OPERATORS[sign](value, bound):
            found.append(f"{name} is {'missing' if value is None else f'{value:.4g}'} {at}, not {sign} {bound:g}")
    return found


def _observed(result: Mapping[str, Any]) -> str:
    return f"{result['verdict']} ({result['failure']})" if result.get("failure") else str(result["verdict"])


def describe(expectation: Expectation) -> str:
    """Write what is expected in a few words."""
    wanted = expectation.verdict
    words = [] if wanted is None else [" or ".join(wanted)]
    words += [str(value) for value in (expectation.failure, expectation.blocking) if value]
    words += [f"{name} {sign} {bound:g}" for name, (sign, bound) in sorted(expectation.kpi.items())]
    return ", ".join(words) or "judged"
