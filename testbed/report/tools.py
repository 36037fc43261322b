"""The test of tools as text: a table of verdicts, and for each that failed the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LAST_LINES, _LONGEST = 3, 160


def as_text(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return one paragraph a tool."""
    return "\n\n".join(_one(tool) for tool in tools)


def _one(tool: Mapping[str, Any]) -> str:
    lines = [f"{tool['recipe']}: {tool['title']}"]
    if tool.get("skipped"):
        return "\n".join([*lines, f"  skipped: {tool['skipped']}"])
    for policy in tool["policies"]:
        lines += _policy(policy, tool.get("bare"))
    if tool.get("regressions") is not None:
        lines += [f"  worse than the baseline: {what}" for what in tool["regressions"]] or [
            "  no worse than the baseline"
        ]
    lines += [f"  {what}" for what in tool.get("not_compared") or []]
    return "\n".join(lines)


def _policy(policy: Mapping[str, Any], bare: Mapping[str, Any] | None) -> list[str]:
    lines = [f"  {policy['policy']:<20} {policy['verdict']:<9} {_numbers(policy, bare)}".rstrip()]
    lines += [f"    invalid: {reason}" for reason in policy["why"]]
    if policy.get("started"):
        lines += [f"    {line}" for line in str(policy["started"]).splitlines()]
    lines += [f"    died: {line}" for text in policy.get("died", []) for line in str(text).splitlines()]
    if policy["verdict"] != "passes":
        lines += [f"    {what} ({times}x)" for what, times in policy.get("success", {}).get("failures", {}).items()]
        for entry in policy.get("blocked_by", []):
            lines += _block(entry)
        lines += _said(policy)
    if policy.get("soak"):
        lines.append(_soak(policy["soak"]))
    return lines


def _numbers(policy: Mapping[str, Any], bare: Mapping[str, Any] | None) -> str:
    rate = policy.get("success")
    if not rate or not rate["of"]:
        return ""
    parts = [f"{rate['ok']}/{rate['of']} connections"]
    if rate["first_byte_s"]["p50"] is not None:
        parts.append(f"first byte {rate['first_byte_s']['p50']:.2f} s (p90 {rate['first_byte_s']['p90']:.2f})")
    if policy.get("load"):
        load = policy["load"]
        share = f" ({load['goodput_bps'] / bare['goodput_bps']:.0%} of the bare link)" if bare else ""
        parts.append(f"{load['goodput_bps'] / 1e3:,.0f} kbit/s{share}, overhead {load['overhead']:.0%}")
    return ", ".join(parts)


def _block(entry: Mapping[str, Any]) -> list[str]:
    evidence = ", ".join(f"{key} {value}" for key, value in sorted(entry["evidence"].items()))
    where = f" on {entry['flow']}" + (f" ({evidence})" if evidence else "") if entry["flow"] else ""
    lines = [f"    by `{entry['rule']}` {entry['times']}x: {entry['reason']}{where}"]
    if entry.get("bytes"):
        shown = bytes.fromhex(entry["bytes"])
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
        frames = [f", frame {found[0]} of the {side} capture" for side, found in entry["frames"].items() if found]
        packet = f"packet {entry['packet']}{''.join(frames[:1])}"
        lines.append(f"      {packet}, {entry['size']} bytes, from {entry['at']} on: {letters}")
    return lines


def _said(policy: Mapping[str, Any]) -> list[str]:
    """Return what a tool's programs said that does not work, and nobody knows why."""
    if policy.get("started") or policy.get("died") or policy.get("blocked_by") or policy["verdict"] == "unstable":
        return []
    said = [(name, line) for name, text in policy.get("said", {}).items() for line in text.splitlines()[-_LAST_LINES:]]
    return [f"    {name} said: {line[:_LONGEST]}" for name, line in said]


def _soak(soak: Mapping[str, Any]) -> str:
    if soak.get("failed"):
        return f"    soak: {soak['failed']}"
    shares = ", ".join(f"{name} {soak[name]:.0%}" for name in ("before", "under", "after") if soak[name] is not None)
    return f"    soak: {shares} succeed; longest silence {soak['silence_s']:g} s"
