"""How close a run's link came to what was asked: ideal against actual departures, and measured rate, delay and loss.

The ideal departure of a packet is the model's, from the moment the kernel saw it come; so lateness holds all that the
machine added, the time a packet waited for our process too. Bounds, for a run to count:

- departures late by at most 5 ms at p99 (of a hundred or more) and 50 ms at worst, early by no more than the backend's
  burst (none in user space);
- on an idle link the median delay within 0.5 ms each way; on a busy one the rate within 1 %, each burst's beginning
  within those 0.5 ms;
- loss within the 99.9 % interval of what was asked (wider than 99 %, since a run is judged for two directions and every
  phase; `bench/link.py` holds 99 %);
- no packet lost to the machine, no super-packet.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

P99_LATE_S = 0.005
WORST_LATE_S = 0.050
DELAY_OFF_S = 0.0005
RATE_OFF = 0.01
_SIGMAS = 3.29
_ENOUGH = 100
_NOTHING_S = 1e-6


class Departure(NamedTuple):
    """A packet that crossed the link: 0 up, 1 down; IP bytes; when it came, should have left and left, in seconds."""

    direction: int
    size: int
    entered: float
    due: float
    actual: float


def unshaped() -> dict[str, Any]:
    """Return the `fidelity.json` of a run without a link: nothing was asked, so nothing can be off."""
    return {"backend": "none", "faithful": True, "reasons": [], "asked": "nothing: the link is unshaped"}


def not_measured(why: str) -> dict[str, Any]:
    """Return the `fidelity.json` of a run of which nobody can say how faithful it was."""
    return {"faithful": False, "reasons": [f"not measured: {why}"]}


def judge(departures: Sequence[Departure], stats: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of `fidelity.json`.

    `stats`: the link's counters. `asked`: the backend, and for each direction `rate_bps`, `delay_s`, `jitter_s` (each
    None where it changed during the run) and `early_s`, by how much the backend may be early.
    """
    reasons: list[str] = []
    lateness = sorted(departure.actual - departure.due for departure in departures)
    late = {"p50": _quantile(lateness, 0.5), "p99": _quantile(lateness, 0.99), "worst": _quantile(lateness, 1.0)}
    if late["p99"] > P99_LATE_S and len(lateness) >= _ENOUGH:
        reasons.append(f"1 % of departures were more than {late['p99'] * 1e3:.1f} ms late (bound {P99_LATE_S * 1e3:g})")
    if late["worst"] > WORST_LATE_S:
        reasons.append(f"a departure was {late['worst'] * 1e3:.0f} ms late (bound {WORST_LATE_S * 1e3:g})")
    if stats.get("oversize"):
        reasons.append(f"{stats['oversize']} packets were larger than the MTU: an offload is on")
    for key, where in (("queue_drops", "before the link saw them"), ("send_drops", "after the link let them go")):
        if stats.get(key):
            reasons.append(f"the machine lost {stats[key]} packets {where}")
    found: dict[str, Any] = {
        "backend": asked.get("backend", "user"), "lateness_s": late, "earliest_s": -min([0.0, *lateness]),
        "departures": len(departures),
    }  # fmt: skip
    for number, side in enumerate(("up", "down")):
        own = [departure for departure in departures if departure.direction == number]
        found[side] = _direction(side, own, stats.get(side, {}), asked.get(side, {}), reasons)
    return {**found, "faithful": not reasons, "reasons": reasons}


def _direction(
    side: str, departures: Sequence[Departure], counters: Mapping[str, float], asked: Mapping[str, Any],
    reasons: list[str],
) -> dict[str, Any]:  # fmt: skip
    passed = counters.get("entered", 0) - counters.get("overflowed", 0)
    measured = {
        "asked": {**asked, "loss": _share(counters, passed)},
        **{key: counters.get(key, 0) for key in ("entered", "lost", "overflowed")},
        "loss": counters.get("lost", 0) / passed if passed else 0.0,
        "idle_delay_s": None, "busy_bps": None, "busiest_bps": busiest_rate(departures),
    }  # fmt: skip
    reasons += [f"{side}: {reason}" for reason in _loss_reasons(counters)]
    early = max((departure.due - departure.actual for departure in departures), default=0.0)
    if early > asked.get("early_s", 0.0) + DELAY_OFF_S:
        reasons.append(f"{side}: a packet left {early * 1e3:.1f} ms early")
    delay, rate = asked.get("delay_s"), asked.get("rate_bps")
    if delay is not None and not asked.get("jitter_s"):
        idle = idle_delays(departures, rate, delay)
        if idle:
            measured["idle_delay_s"] = median(idle)
            early_s = asked.get("early_s", 0.0)
            if len(idle) >= _ENOUGH and not -early_s - DELAY_OFF_S <= median(idle) - delay <= DELAY_OFF_S:
                reasons.append(f"{side}: {median(idle) * 1e3:.2f} ms on an idle link, {delay * 1e3:g} ms was asked")
        if rate is not None:
            sizes, seconds, bursts = busy(departures, rate)
            ideal_s = sum(sizes) * 8 / rate
            if len(sizes) >= _ENOUGH:
                measured["busy_bps"] = sum(sizes) * 8 / max(seconds, _NOTHING_S)
                # what a burst's first packet was late by shortens the burst: no more than the delay may be off
                slack_s = bursts * DELAY_OFF_S + asked.get("early_s", 0.0)
                if abs(seconds - ideal_s) > ideal_s * RATE_OFF + slack_s:
                    reasons.append(f"{side}: {measured['busy_bps']:,.0f} bit/s on a busy link, {rate:,.0f} was asked")
    return measured


def _share(counters: Mapping[str, float], passed: float) -> float:
    return counters.get("lost_expected", 0.0) / passed if passed else 0.0


def _loss_reasons(counters: Mapping[str, float]) -> list[str]:
    lost, expected = counters.get("lost", 0), counters.get("lost_expected", 0.0)
    if abs(lost - expected) <= _SIGMAS * math.sqrt(counters.get("lost_variance", 0.0)) + 1.0:
        return []
    return [f"{lost:.0f} packets were lost, {expected:.1f} were asked to be"]


def idle_delays(departures: Sequence[Departure], rate_bps: float | None, delay_s: float) -> list[float]:
    """Return for each packet that found the link idle the time it took beyond its own serialization."""
    found: list[float] = []
    for departure in departures:
        serialization = departure.size * 8 / rate_bps if rate_bps else 0.0
        if departure.due - departure.entered <= serialization + delay_s + _NOTHING_S:
            found.append(departure.actual - departure.entered - serialization)
    return found


def busy(departures: Sequence[Departure], rate_bps: float) -> tuple[list[int], float, int]:
    """Return the sizes of the packets that were due right behind another, the time they really took, and the number of
    bursts they came in."""
    sizes, seconds, bursts, inside = [], 0.0, 0, False
    for before, after in pairwise(departures):
        behind = abs(after.due - before.due - after.size * 8 / rate_bps) < _NOTHING_S
        if behind:
            sizes.append(after.size)
            seconds += after.actual - before.actual
            bursts += not inside
        inside = behind
    return sizes, seconds, bursts


def busiest_rate(departures: Sequence[Departure], window_s: float = 2.0) -> float:
    """Return the highest rate in bit/s over any `window_s` of actual departures, the first packet not counted."""
    best, start, total = 0.0, 0, 0
    ordered = sorted((departure.actual, departure.size) for departure in departures)
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
