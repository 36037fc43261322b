"""From what clients saw to a verdict on a tool: two-sided, with numbers; and one test against an earlier one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

#: what a tool has under a policy, best first; `invalid` proves nothing and stands outside
VERDICTS = ("passes", "unstable", "blocked", "broken")
#: what a rule does to a flow's later packets: the one that draws it passes, and the later ones leave no note
_LATER = frozenset({"throttled", "frozen later", "impaired", "intercepted"})
_STEADY, _MUCH_FEWER, _MUCH_SLOWER, _BIT_S, _MUCH_LESS = 0.8, 0.2, 1.5, 0.5, 0.6
#: without a link times are the machine's: only what no machine's mood explains
_FAR_SLOWER, _LONG_S = 3.0, 1.0
#: in a soak, of few attempts
_MANY_FEWER = 0.5
_SPANS = (("before", "before the policy came"), ("under", "under the policy"), ("after", "after it went"))
Attempt = Mapping[str, Any]


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return a quantile by rank, rounded to a millisecond; None of nothing."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None


def success(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Return how many attempts succeeded, how long until the first byte, and the failures by their words."""
    good = [attempt for attempt in attempts if not attempt["failure"]]
    failures = Counter(f"{attempt['failure']} at {attempt['operation']}" for attempt in attempts if attempt["failure"])
    firsts = [float(attempt["first_byte_s"]) for attempt in good]
    return {
        "ok": len(good), "of": len(attempts), "failures": dict(failures.most_common()),
        "first_byte_s": {"p50": quantile(firsts, 0.5), "p90": quantile(firsts, 0.9)},
    }  # fmt: skip


def load(attempts: Sequence[Attempt]) -> dict[str, Any] | None:
    """Return goodput in bit/s and the bytes on the cable for each byte of the file; None if it didn't come whole."""
    good = [attempt for attempt in attempts if not attempt["failure"] and attempt["bytes"]]
    if not good:
        return None
    attempt = good[0]
    lasted = max(float(attempt["total_s"]) - float(attempt["first_byte_s"]), 1e-3)
    if attempt["bytes"] < 4096:
        lasted = float(attempt["total_s"])
    return {
        "goodput_bps": round(attempt["bytes"] * 8 / lasted), "bytes": attempt["bytes"],
        "overhead": round(attempt["wire_bytes"] / attempt["bytes"] - 1, 3),
    }  # fmt: skip


def soak(attempts: Sequence[Attempt], changed: Sequence[float], ended: float) -> dict[str, Any]:
    """Return the share of successes before, under and after the policy, and the longest time without traffic."""
    edges = [float("-inf"), *changed, float("inf")]
    spans = [[attempt for attempt in attempts if low <= attempt["begun"] < high] for low, high in pairwise(edges)]
    shares = [round(sum(not a["failure"] for a in span) / len(span), 2) if span else None for span in spans]
    begun = attempts[0]["begun"] if attempts else ended
    moments = [begun, *(a["begun"] + a["total_s"] for a in attempts if not a["failure"]), ended]
    silence = max((b - a for a, b in pairwise(moments)), default=0.0)
    return {"before": shares[0], "under": shares[1], "after": shares[2], "silence_s": round(silence, 2)}


def controls(passing: Sequence[Attempt], blocked: Sequence[Attempt], reachable: Collection[str]) -> dict[str, Any]:
    """Return what a client without the tool saw: a site that passes, one that the censor stops, and how.

    `reachable`: the pages that are reached without a censor; what fails there too is no sign of one.
    """
    passes = [attempt["url"] for attempt in passing if not attempt["failure"]]
    stopped = [attempt for attempt in blocked if attempt["failure"] and attempt["url"] in reachable]
    return {
        "passes": passes[0] if passes else None,
        "blocked": stopped[0]["url"] if stopped else None,
        "how": f"{stopped[0]['failure']} at {stopped[0]['operation']}" if stopped else None,
    }


def verdict(rate: Mapping[str, Any]) -> str:
    """Return the word for a success rate."""
    if not rate["ok"]:
        return "blocked"
    return "passes" if rate["ok"] >= _STEADY * rate["of"] else "unstable"


def blocked_by(events: Sequence[Mapping[str, Any]], most: int = 5) -> list[dict[str, Any]]:
    """Return which rules acted, how often, with the first packet's evidence of each.

    `packet` names it as the events do, `size` is its length, `bytes` what of it matters, in hex, from byte `at` on.
    What the kernel dropped by itself names no flow; its evidence is how many packets.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        trigger = event.get("trigger", {})
        harmless = event.get("verdict") == "pass" and not event.get("injections")
        if harmless and event["reason"] not in _LATER:
            continue
        entry = found.setdefault(
            (event["rule"], event["reason"]),
            {
                "rule": event["rule"],
                "reason": event["reason"],
                "times": 0,
                "verdict": event.get("verdict"),
                "flow": event["flow"],
                "evidence": event.get("evidence", {}) if event["flow"] else {},
                "packet": trigger.get("hash", ""),
                "size": trigger.get("size", 0),
                "at": trigger.get("at", 0),
                "bytes": trigger.get("bytes", ""),
                "frames": {},
            },
        )
        entry["times"] += 1 if event["flow"] else event.get("evidence", {}).get("packets", 1)
    return sorted(found.values(), key=lambda entry: -entry["times"])[:most]


def regressions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what got worse since an earlier test of the same recipe, policy by policy; a new policy is none.

    Times and rates are compared only where both were measured over the same link. Without one they are the machine's:
    then only a first byte counts that comes far later.
    """
    earlier = {item["policy"]: item for item in before.get("policies", [])}
    alike = before.get("link") in (None, now.get("link"))
    bare = now.get("link") == "none"
    found: list[str] = []
    for item in now["policies"]:
        if item["policy"] in earlier:
            found += [f"{item['policy']}: {what}" for what in _worse(earlier[item["policy"]], item, alike, bare)]
    return found


def not_compared(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Return what a baseline says nothing about."""
    if before is None:
        return [f"the baseline has no {now['recipe']}: judged as without one"]
    known = {item["policy"] for item in before.get("policies", []) if item["verdict"] in VERDICTS}
    new = [item["policy"] for item in now["policies"] if item["policy"] not in known]
    found = [f"the baseline proves nothing under {', '.join(new)}: no verdict there is a regression"] if new else []
    if before.get("link") not in (None, now.get("link")):
        found.append(f"the baseline's link is {before.get('link')}: times and rates are not compared")
    return found


def _worse(before: Mapping[str, Any], now: Mapping[str, Any], alike: bool, bare: bool) -> list[str]:
    if before["verdict"] not in VERDICTS or now["verdict"] not in VERDICTS:
        return []
    if VERDICTS.index(now["verdict"]) > VERDICTS.index(before["verdict"]):
        return [f"{now['verdict']}, was {before['verdict']}{_because(now)}"]
    found: list[str] = []
    was, rate = (_share(item) for item in (before, now))
    if was is not None and rate is not None and was - rate > _MUCH_FEWER:
        found.append(f"{rate:.0%} of the connections succeed, were {was:.0%}")
    found += _worse_in_a_soak(before.get("soak") or {}, now.get("soak") or {})
    if not alike:
        return found
    first, was_first = (((item.get("success") or {}).get("first_byte_s") or {}).get("p50") for item in (now, before))
    slower, later_s = (_FAR_SLOWER, _LONG_S) if bare else (_MUCH_SLOWER, _BIT_S)
    if first and was_first and first > was_first * slower and first - was_first > later_s:
        found.append(f"the first byte comes after {first:.2f} s, came after {was_first:.2f} s")
    bps, was_bps = ((item.get("load") or {}).get("goodput_bps") for item in (now, before))
    if bps and was_bps and bps < was_bps * _MUCH_LESS and not bare:
        found.append(f"{bps / 1e3:,.0f} kbit/s, were {was_bps / 1e3:,.0f}")
    return found


def _worse_in_a_soak(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return where a tool no longer survives that the policy changes."""
    if now.get("failed") and not before.get("failed") and before:
        return [f"the soak failed: {now['failed']}"]
    pairs = [(said, before.get(key), now.get(key)) for key, said in _SPANS]
    return [
        f"in the soak {share:.0%} succeed {said}, were {was:.0%}"
        for said, was, share in pairs
        if was is not None and share is not None and was - share > _MANY_FEWER
    ]


def _share(item: Mapping[str, Any]) -> float | None:
    """Return the share of successes; None if nothing was tried, as by a tool that didn't start."""
    success = item.get("success") or {}
    return float(success["ok"] / success["of"]) if success.get("of") else None


def _because(item: Mapping[str, Any]) -> str:
    rules = ", ".join(sorted({f"`{entry['rule']}`" for entry in item.get("blocked_by", [])}))
    return f" (by {rules})" if rules else ""
