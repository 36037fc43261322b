"""How close a run's link came to what was asked: ideal against actual departures, loss against its interval.

Bounds: departures late by at most 5 ms at p99 and 50 ms at worst, loss within the 99.9 % interval of a binomial of the
packets that entered (wider than 99 %, since a run is judged for two directions and every phase), no packet lost to the
machine, no super-packet. A run outside is invalid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

P99_LATE_S = 0.005
WORST_LATE_S = 0.050
_SIGMAS = 3.29
Departure = tuple[int, int, float, float]


def judge(departures: Sequence[Departure], stats: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of `fidelity.json`.

    `departures`: (0 up | 1 down, IP bytes, due, actual in seconds). `stats`: the link's counters. `asked`: for each
    direction `rate_bps`, `delay_s`, `loss`, the loss None where it changed during the run.
    """
    reasons: list[str] = []
    lateness = sorted(actual - due for _, _, due, actual in departures)
    late = {"p50": _quantile(lateness, 0.5), "p99": _quantile(lateness, 0.99), "worst": _quantile(lateness, 1.0)}
    if late["p99"] > P99_LATE_S:
        reasons.append(f"1 % of departures were more than {late['p99'] * 1e3:.1f} ms late (bound {P99_LATE_S * 1e3:g})")
    if late["worst"] > WORST_LATE_S:
        reasons.append(f"a departure was {late['worst'] * 1e3:.0f} ms late (bound {WORST_LATE_S * 1e3:g})")
    if stats.get("oversize"):
        reasons.append(f"{stats['oversize']} packets were larger than the MTU: an offload is on")
    if stats.get("queue_drops"):
        reasons.append(f"the machine lost {stats['queue_drops']} packets before the link saw them")
    found: dict[str, Any] = {"lateness_s": late, "departures": len(departures)}
    for number, side in enumerate(("up", "down")):
        own = [entry for entry in departures if entry[0] == number]
        found[side] = _direction(side, own, stats.get(side, {}), asked.get(side, {}), reasons)
    return {**found, "faithful": not reasons, "reasons": reasons}


def _direction(
    side: str, departures: Sequence[Departure], counters: Mapping[str, int], asked: Mapping[str, Any],
    reasons: list[str],
) -> dict[str, Any]:  # fmt: skip
    entered, lost = counters.get("entered", 0), counters.get("lost", 0)
    passed = entered - counters.get("overflowed", 0)
    measured = {
        "asked": dict(asked), "entered": entered, "lost": lost, "overflowed": counters.get("overflowed", 0),
        "loss": lost / passed if passed else 0.0, "busiest_bps": busiest_rate(departures),
    }  # fmt: skip
    loss, rate = asked.get("loss"), asked.get("rate_bps")
    if loss is not None and passed:
        spread = _SIGMAS * math.sqrt(passed * loss * (1 - loss)) + 1.0
        if abs(lost - passed * loss) > spread:
            reasons.append(f"{side}: {lost} of {passed} packets were lost, {loss:.2%} was asked")
    if rate is not None and measured["busiest_bps"] > rate * 1.05:
        reasons.append(f"{side}: {measured['busiest_bps']:,.0f} bit/s passed, {rate:,.0f} was asked")
    return measured


def busiest_rate(departures: Sequence[Departure], window_s: float = 2.0) -> float:
    """Return the highest rate in bit/s over any `window_s` of actual departures, the first packet not counted."""
    best, start, total = 0.0, 0, 0
    ordered = sorted((actual, size) for _, size, _, actual in departures)
    for end, (when, size) in enumerate(ordered):
        total += size
        while when - ordered[start][0] > window_s:
            total -= ordered[start][1]
            start += 1
        if end > start:
            best = max(best, (total - ordered[start][1]) * 8 / window_s)
    return best


def _quantile(ordered: Sequence[float], share: float) -> float:
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
