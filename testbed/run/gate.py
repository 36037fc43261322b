"""Whether a run proves anything: the link was faithful, no packet process died, fell behind or lost packets. Pure.

A run that fails here is *invalid*, status 3: overload must never be mistaken for throttling, nor a dead box for an
open country.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: So many packets may be late whatever the load, as while a policy is read; beyond that, this share of all.
_FEW_LATE, _LATE_SHARE = 50, 0.01


def reasons_invalid(
    fidelity: Mapping[str, Any], stats: Mapping[str, Mapping[str, Any]], died: Sequence[str], broken_apps: Sequence[str]
) -> list[str]:
    """Return why a run proves nothing; an empty list if it is valid."""
    why = list(died)
    if not fidelity.get("faithful", False):
        why += [f"the link was not faithful: {reason}" for reason in fidelity.get("reasons", ["not measured"])]
    for name, counters in sorted(stats.items()):
        lost = int(counters.get("queue_drops", 0))
        if lost and name != "link":  # the link's own are in its fidelity
            why.append(f"{name} lost {lost} packets to its own queue: this machine is too slow for the load")
        late, packets = int(counters.get("late", 0)), int(counters.get("packets", 0))
        if late > max(_FEW_LATE, _LATE_SHARE * packets):
            why.append(f"{name} judged {late} of {packets} packets more than 50 ms late: the machine is too slow")
    why += [f"the app {name} gave no result at all: see logs/app-{name}.log" for name in broken_apps]
    return why


def status_of(
    why_invalid: Sequence[str], expectations: Sequence[Mapping[str, Any]], interrupted: bool
) -> tuple[str, int]:
    """Return the run's status and the exit status that goes with it."""
    if interrupted:
        return "interrupted", 3
    if why_invalid:
        return "invalid", 3
    if all(item["holds"] for item in expectations):
        return "passed", 0
    return "failed", 1
