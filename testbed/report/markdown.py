"""Results as Markdown, for the summary page of a CI job: tests of tools, and any JUnit file. Pure but for `main`.

`python -m testbed.report.markdown junit.xml…` prints one table for each file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

_MARKS = {"passes": "✅", "unstable": "⚠️", "blocked": "❌", "broken": "❌", "invalid": "❔", "skipped": "❔"}
_KINDS = {"failure": "❌ failed", "error": "❔ proves nothing", "skipped": "⏭️ skipped"}
_MOST_ROWS, _LONGEST_CELL = 500, 300


def of_tools(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return a section for each tool: a row for each policy, with what stopped it and what got worse."""
    return "\n".join(_tool(tool) for tool in tools)


def _tool(tool: Mapping[str, Any]) -> str:
    lines = [f"### {_cell(tool['recipe'])}: {_cell(tool['title'])}", ""]
    if tool.get("skipped"):
        return "\n".join([*lines, f"{_MARKS['skipped']} skipped: {_cell(tool['skipped'])}", ""])
    rows = [_policy(policy) for policy in tool["policies"]]
    lines += _table(("policy", "verdict", "connections", "first byte", "goodput", "why"), rows)
    worse = tool.get("regressions")
    if worse is not None:
        lines += [
            "",
            *([f"**Worse than the baseline:** {_cell(what)}" for what in worse] or ["No worse than the baseline."]),
        ]
    lines += [line for what in tool.get("not_compared") or [] for line in ("", _cell(what))]
    return "\n".join([*lines, ""])


def _policy(policy: Mapping[str, Any]) -> list[str]:
    rate, load = policy.get("success") or {}, policy.get("load") or {}
    first = (rate.get("first_byte_s") or {}).get("p50")
    return [
        policy["policy"], f"{_MARKS[policy['verdict']]} {policy['verdict']}",
        f"{rate['ok']}/{rate['of']}" if rate.get("of") else "",
        f"{first:.2f} s" if first is not None else "",
        f"{load['goodput_bps'] / 1e3:,.0f} kbit/s" if load else "", "; ".join(_why(policy)),
    ]  # fmt: skip


def _why(policy: Mapping[str, Any]) -> list[str]:
    if policy["why"]:
        return [str(reason) for reason in policy["why"]]
    if policy["verdict"] == "passes":
        return []
    found = [f"{what} ({times}×)" for what, times in (policy.get("success") or {}).get("failures", {}).items()]
    found += [f"by {entry['rule']}: {entry['reason']}" for entry in policy.get("blocked_by", [])]
    started = str(policy.get("started") or "").splitlines()
    died = list(policy.get("died", []))
    said = [] if policy.get("blocked_by") else [f"{name} said: {text}" for name, text in policy.get("said", {}).items()]
    return [*(started or died or said)[-1:], *found]


def of_junit(text: str) -> str:
    """Return the cases of a JUnit file, those that are not well first; `ValueError` if it is none."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"not XML: {error}") from None
    cases = list(root.iter("testcase"))
    rows = sorted((_case(case) for case in cases), key=lambda row: row[1].startswith("✅"))
    well = sum(row[1].startswith("✅") for row in rows)
    lines = [f"{well} of {len(rows)} passed", "", *_table(("test", "", "why"), rows[:_MOST_ROWS])]
    if len(rows) > _MOST_ROWS:
        lines += ["", f"… and {len(rows) - _MOST_ROWS} more"]
    return "\n".join([*lines, ""])


def _case(case: ElementTree.Element) -> list[str]:
    name = " ".join(part for part in (case.get("classname"), case.get("name")) if part)
    for kind, said in _KINDS.items():
        found = case.find(kind)
        if found is not None:
            return [name, said, found.get("message") or (found.text or "").strip()]
    return [name, "✅ passed", ""]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return [*lines, *(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows)]


def _cell(text: object) -> str:
    """Return a text that stays in its cell and is read as it stands: what a tool wrote may be anything."""
    line = " ".join(str(text).split())
    for sign in "\\`|<>[]*_":
        line = line.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return line if len(line) <= _LONGEST_CELL else f"{line[:_LONGEST_CELL]}…"


def main(paths: Sequence[str]) -> int:
    """Print each JUnit file as a table; a file that is none is named on standard error, status 2."""
    status = 0
    for path in paths:
        try:
            print(of_junit(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            print(f"{path}: {error}; give a JUnit file", file=sys.stderr)
            status = 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
