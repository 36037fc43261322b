"""The tables in `docs/policies/`: what each shipped policy looks for, does and claims, written anew from the policies.

A page is prose with places that this module fills: what stands between `<!-- policy NAME -->` and `<!-- end -->` is the
policy's own title, text and rules; `<!-- policies -->` begins the index of all. `scripts/schemas` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from testbed import shipped
from testbed.dpi.explain import describe, describe_residual
from testbed.dpi.match import Match, NameSet
from testbed.dpi.policy import Policy, load_policy
from testbed.dpi.rule import Rule
from testbed.scenario.topology import GROUPS

MARKS = {
    "M": "measured", "R": "reported", "I": "inferred", "U": "unknown: a knob", "D": "second-hand", "G": "general",
    "M+R": "measured, reported",
}  # fmt: skip
_PLACE = re.compile(r"<!-- (policy ([\w.-]+)|policies) -->\n.*?<!-- end -->", re.DOTALL)
_BETTER = {
    "tm-2018-imo-calls": "testbed run imo-goes-dark", "tm-shutdown": "testbed run shutdown-2022-04",
    "tm-2024-amnesty": "testbed run amnesty-2024", "tm-2024-turkmentelecom": "testbed run amnesty-2024",
    "tm-2024-mobile": "testbed run amnesty-2024", "henan": "testbed run two-walls",
    "iran-2025": "testbed exec --policy iran-2025 --link none -- ping -c1 -W2 any.example",
}  # fmt: skip
"""What shows a policy better than fetching a page does."""
_NAMED = {"dns": "DNS", "http_host": "HTTP host", "sni": "TLS name", "quic_sni": "QUIC name"}


def refreshed(text: str) -> str:
    """Return a page with its places filled anew."""
    return _PLACE.sub(lambda found: f"<!-- {found[1]} -->\n{_content(found[2])}<!-- end -->", text)


def named_in(text: str) -> list[str]:
    """Return the policies that a page tells of."""
    return [found[2] for found in _PLACE.finditer(text) if found[2]]


def pages(docs: Path) -> Iterator[Path]:
    """Yield the pages that have such places."""
    yield docs / "policies.md"
    yield from sorted((docs / "policies").glob("*.md"))


def _content(name: str | None) -> str:
    if name is not None:
        return policy_block(load_policy(name, GROUPS))
    lines = ["| policy | what it is | how sure |", "|---|---|---|"]
    for known in shipped.names("policies"):
        policy = load_policy(known, GROUPS)
        sure = sorted({MARKS[rule.evidence.mark].partition(":")[0] for rule in policy.rules})
        lines.append(f"| `{known}` | {policy.title} | {', '.join(sure) or '–'} |")
    return "\n".join([*lines, ""])


def policy_block(policy: Policy) -> str:
    """Return what a page says of one policy: its text, and a row for each rule, in order."""
    parts = [f"**{policy.title}.** {policy.about}".strip(), ""]
    given = [f"placement: {policy.placement}"]
    given += [f"extends: `{policy.extends}`"] if policy.extends else []
    given += [f"reads and tracks as preset `{policy.preset}`"] if policy.preset else []
    parts += ["; ".join(given).capitalize() + ".", "", f"See it: `{command_for(policy)}`", ""]
    if policy.rules:
        parts += ["| rule | looks for | does | afterwards | evidence | not supported |", "|---|---|---|---|---|---|"]
        parts += [_row(rule) for rule in policy.rules]
        parts.append("")
    return "\n".join(parts)


def command_for(policy: Policy) -> str:
    """Return a command that shows the policy at work."""
    if policy.policy in _BETTER:
        return _BETTER[policy.policy]
    for rule in policy.rules:
        for match in rule.match.walk():
            for key, program in (("sni", "curl -sS https://{}/"), ("http_host", "curl -sS http://{}/")):
                names: NameSet | None = getattr(match, key)
                if names is not None and not policy.policy.startswith("allow"):
                    given = (*names.patterns, *(item for listed in names.lists for item in policy.names[listed]))
                    name = next(item for item in given if item[0] != "/").strip("=*.")
                    name = name if "." in name else f"www.{name}.com"
                    return f"testbed exec --policy {policy.policy} --link none -- {program.format(name)}"
    example = "http://any.example/?q=ultrasurf" if policy.policy.startswith("geneva") else "https://any.example/"
    return f"testbed exec --policy {policy.policy} --link none -- curl -sS --max-time 5 '{example}'"


def _row(rule: Rule) -> str:
    evidence = rule.evidence
    does = describe(rule.action)
    if rule.probability < 1:
        does += f", on {rule.probability:.4g} of {'connections' if rule.drawn_per == 'connection' else 'hosts'}"
    if rule.moment != "any":
        does += f", at the {rule.moment}"
    cells = [
        f"`{rule.name}`", _looks_for(rule.match), does, describe_residual(rule.residual) or "–",
        f"{evidence.mark} ({MARKS[evidence.mark]}): {evidence.source}", evidence.note or "–",
    ]  # fmt: skip
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _looks_for(match: Match) -> str:
    """Say in a line what a match asks for, as the file writes it."""
    said: list[str] = []
    for key in type(match).model_fields:
        if key not in match.model_fields_set:
            continue
        value = getattr(match, key)
        if isinstance(value, NameSet):
            said.append(f"{_NAMED[key]} in {', '.join((*value.lists, *value.patterns))}")
        elif key in ("all_of", "any_of", "unless"):
            word = {"all_of": "all of", "any_of": "any of", "unless": "unless"}[key]
            said.append(f"{word} ({'; or '.join(_looks_for(part) for part in value)})")
        elif key == "not_":
            said.append(f"not ({_looks_for(value)})")
        elif key == "ports":
            said.append("port " + ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in value))
        elif key == "everything":
            said.append("everything")
        else:
            said.append(f"{key.replace('_', ' ')} {_plain(value)}")
    return "; ".join(said)


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        given = value.model_dump(exclude_unset=True, by_alias=True)
        return ", ".join(f"{key} {_plain(item)}" for key, item in given.items()) or "of any kind"
    if isinstance(value, tuple):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    return f"`{value}`" if isinstance(value, str) and not value.isalnum() else str(value)
