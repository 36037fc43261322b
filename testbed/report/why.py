"""Why an attempt went as it did: which decisions of the censor fell on its host while it lasted. Pure.

A decision names a flow by addresses, an attempt a host; what joins them is the host's address and the time. A name
that the provider's resolver looks up for a host is the resolver's flow: its decisions count where none is the host's.
What the kernel drops on its own it tells by rule, once a second and without a flow: that counts where there is neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_AFTER_S, _TALLY_S = 0.2, 1.0
RESOLVER = "resolver"


@dataclass(frozen=True, slots=True)
class Cause:
    """The decisions behind the attempts of one app in one phase that were not ok."""

    app: str
    phase: str
    verdict: str
    failure: str
    attempts: int
    rules: Mapping[str, int] = field(default_factory=dict)
    """Rule → decisions, or the packets that the kernel dropped by it."""
    example: Mapping[str, Any] | None = None
    """The first of them, whole; without a flow if the kernel told it; None if the censor decided nothing."""


def addresses(plan: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return each node's addresses, without prefix length, from a plan as data."""
    return {
        node["name"]: frozenset(a.partition("/")[0] for i in node["interfaces"] for a in i["addresses"])
        for node in plan.get("nodes", ())
    }


def endpoints(flow: str) -> tuple[str, ...]:
    """Return the addresses in a flow's text, `tcp 100.64.1.1:40000 > 198.19.3.4:443`; the port may be missing."""
    kind, _, ends = flow.partition(" ")
    found = []
    for end in ends.split(" > "):
        has_port = kind in ("tcp", "udp") and ":" in end
        found.append((end.rpartition(":")[0] if has_port else end).strip("[]"))
    return tuple(end for end in found if end)


def causes(
    attempts: Sequence[Mapping[str, Any]], decisions: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]
) -> list[Cause]:
    """Return one cause for each app and phase in which an attempt was slow or blocked, in time order.

    Without a plan (a run of an earlier version) time alone joins them.
    """
    known = addresses(plan)
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for attempt in attempts:
        if attempt["verdict"] != "ok" and attempt.get("phase"):
            groups.setdefault((attempt["name"], attempt["phase"]), []).append(attempt)
    return [_cause(own, decisions, known) for own in groups.values()]


def _cause(
    attempts: Sequence[Mapping[str, Any]], decisions: Sequence[Mapping[str, Any]], known: Mapping[str, frozenset[str]]
) -> Cause:
    meanwhile = [d for d in decisions if d["flow"] and _fell_in(d["t"], attempts)]
    found = meanwhile
    for node in (str(attempts[0].get("node")), RESOLVER):
        if known:
            found = [d for d in meanwhile if known.get(node, frozenset()) & set(endpoints(str(d["flow"])))]
        if found:
            break
    else:
        found = [d for d in decisions if _told_by_kernel(d) and _fell_in(d["t"], attempts, _TALLY_S)]
    counts: Counter[str] = Counter()
    for decision in found:
        counts[str(decision["rule"])] += decision["evidence"]["packets"] if _told_by_kernel(decision) else 1
    worst = max(attempts, key=lambda a: ("ok", "slow", "blocked").index(a["verdict"]))
    return Cause(
        worst["name"], worst["phase"], worst["verdict"], worst.get("failure") or "", len(attempts),
        dict(sorted(counts.items())), found[0] if found else None,
    )  # fmt: skip


def _told_by_kernel(decision: Mapping[str, Any]) -> bool:
    return not decision["flow"] and decision.get("verdict") == "drop" and "packets" in (decision.get("evidence") or {})


def _fell_in(t: float, attempts: Sequence[Mapping[str, Any]], later_s: float = 0.0) -> bool:
    return any(a["t"] <= t <= a["t"] + a["duration_s"] + _AFTER_S + later_s for a in attempts)
