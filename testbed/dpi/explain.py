"""What a policy does to a name, in words: which rule, by which pattern from which line, and whom it hits besides.

Reads nothing but what it is given; `testbed policy explain` is the command.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from testbed.dpi.action import Action, DnsAnswer, Residual
from testbed.dpi.match import Match, NameSet
from testbed.dpi.names import NameIndex, check_pattern, read_list
from testbed.dpi.policy import Hit, Policy
from testbed.dpi.rule import Rule
from testbed.units import format_duration, format_rate, format_size

WAYS: Mapping[str, str] = {"dns": "DNS", "http_host": "HTTP", "sni": "HTTPS", "quic_sni": "HTTP/3"}
"""The ways of asking for a name, by the matcher that sees them."""
_FLAGS = {"R": "RST", "RA": "RST+ACK", "F": "FIN", "FA": "FIN+ACK"}
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Overblock:
    """What a pattern hits among well-known names, the asked one left out.

    `by_accident`: those that a rule anchored to the pattern's own name, `.t.co` for `*t.co*`, would leave alone.
    """

    among: int
    names: tuple[str, ...]
    by_accident: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule that a name runs into. `first`: no earlier rule of the policy acts on the same way of asking."""

    hit: Hit
    place: str
    conditions: tuple[str, ...]
    action: str
    residual: str
    evidence: Mapping[str, str]
    first: bool
    overblock: Overblock

    @property
    def way(self) -> str:
        """DNS, HTTP, HTTPS or HTTP/3."""
        return WAYS.get(self.hit.kind, self.hit.kind)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "way": self.way, "matcher": self.hit.kind, "rule": self.hit.rule, "pattern": self.hit.pattern,
            "place": self.place, "conditions": list(self.conditions), "action": self.action,
            "residual": self.residual, "evidence": dict(self.evidence), "first": self.first,
            "overblock": {
                "among": self.overblock.among, "count": len(self.overblock.names),
                "by_accident": len(self.overblock.by_accident), "names": list(self.overblock.names),
            },
        }  # fmt: skip


def explain(
    policy: Policy, name: str, against: Sequence[str], find_line: Callable[[str, Hit], str]
) -> tuple[Explanation, ...]:
    """Explain what a policy does to a name; empty if nothing hits it.

    `against`: names to count over-blocking among. `find_line(list, hit)`: where a list file holds a hit's pattern, as
    `file:line`; asked with an empty list for a pattern that stands in the policy itself.
    """
    rules = {rule.name: rule for rule in policy.rules}
    found: list[Explanation] = []
    for hit in policy.explain(name):
        rule = rules[hit.rule]
        has_exceptions = any(part.unless or part.not_ for part in rule.match.walk())
        spared = {o for o in against if policy.concerned(rule, hit.kind, o) is None} if has_exceptions else set()
        found.append(
            Explanation(
                hit, _place(policy, rule, hit, find_line), conditions(rule), describe(rule.action),
                describe_residual(rule.residual), rule.evidence.model_dump(),
                all(earlier.hit.kind != hit.kind for earlier in found), overblocked(hit.pattern, name, against, spared),
            )
        )  # fmt: skip
    return tuple(found)


def _place(policy: Policy, rule: Rule, hit: Hit, find_line: Callable[[str, Hit], str]) -> str:
    if not hit.pattern:
        return find_line("", hit)
    sets = list(_name_sets(rule.match))
    for names in sets:
        if hit.pattern in names.patterns:
            return find_line("", hit)
    for names in sets:
        for listed in names.lists:
            if hit.pattern in policy.names.get(listed, ()):
                return find_line(listed, hit)
    return ""


def _name_sets(part: object) -> Iterator[NameSet]:
    """Yield every set of names in a match, however deep."""
    if isinstance(part, NameSet):
        yield part
    elif isinstance(part, BaseModel):
        for key in type(part).model_fields:
            if key != "unless":
                yield from _name_sets(getattr(part, key))
    elif isinstance(part, tuple):
        for item in part:
            yield from _name_sets(item)


def line_of(pattern: str, lines: Sequence[str]) -> int | None:
    """Return the line of a list file that holds a pattern."""
    for number, text in read_list(lines):
        if text == pattern or check_pattern(text) == pattern:
            return number
    return None


def overblocked(pattern: str, name: str, against: Sequence[str], spared: Collection[str] = ()) -> Overblock:
    """Find out whom a pattern, the empty one for all, hits besides the name and the `spared`."""
    index = NameIndex([pattern or "/^/"])
    hit = tuple(o for o in against if o != name and o not in spared and index.find(o) is not None)
    anchored = _anchored(pattern)
    accident = tuple(other for other in hit if anchored.find(other) is None) if anchored else ()
    return Overblock(len(against), hit, accident)


def _anchored(pattern: str) -> NameIndex | None:
    """Return the rule that a substring was probably meant as, if the substring is a whole name."""
    part = pattern[1:-1].strip(".")
    return NameIndex([f".{part}"]) if pattern[:1] == "*" and "." in part else None


def conditions(rule: Rule) -> tuple[str, ...]:
    """Say what else must hold for a rule to act, one phrase each."""
    match, found = rule.match, []
    if match.ports:
        found.append("on port " + ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in match.ports))
    if match.addresses:
        found.append("to " + ", ".join(match.addresses))
    if match.origin:
        found.append(f"in flows opened from {match.origin}")
    if rule.probability < 1:
        found.append(f"for {rule.probability:.4g} of connections")
    if rule.needs_handshake:
        found.append("after a handshake (without one it only arms the residual block)")
    known = {"dns", "http_host", "sni", "protocol", "ports", "addresses", "origin", "unless"}
    for key in sorted(match.model_fields_set - known):
        found.append(f"if {key.replace('_', ' ')} matches {_plain(getattr(match, key))}")
    found += (f"unless {_exception(other)}" for other in match.unless)
    return tuple(found)


def _exception(match: Match) -> str:
    return ", ".join(f"{key} {_listed(getattr(match, key))}" for key in sorted(match.model_fields_set))


def _listed(value: object) -> object:
    return ", ".join((*value.lists, *value.patterns)) if isinstance(value, NameSet) else _plain(value)


def describe(action: Action) -> str:
    """Say what an action does to the sender's packet, in a phrase that follows "the censor"."""
    if action.rst is not None:
        return _describe_resets(action)
    if action.dns_answer is not None:
        return _describe_answer(action.dns_answer)
    if action.block_page is not None:
        page = action.block_page
        where = f", redirected to {page.location}" if page.location else ""
        return f"answers with a block page, status {page.status}{where}"
    if action.throttle is not None:
        way = "drops what exceeds it" if action.throttle.mode == "police" else "delays what exceeds it"
        return f"throttles the {action.throttle.key} to {format_rate(action.throttle.rate)}: it {way}"
    if action.freeze is not None:
        limit = action.freeze
        count = f"{limit.after_packets} packets" if limit.after_bytes is None else format_size(limit.after_bytes)
        return f"lets the flow fall silent after {count} of the {limit.sender}"
    if action.delay is not None:
        return f"delays the packet by {format_duration(action.delay)}"
    return {
        "packet": "drops the packet", "flow": "drops the packet and the rest of its flow",
        "from-client": "drops the client's packets from here on", "from-server": "drops the server's from here on",
        "icmp": "says that the destination is unreachable", "tls_alert": "ends the handshake with a TLS alert",
        "impair": "makes the flow bad", "ban": "drops everything to and from the address for a time",
        "intercept": "opens the connection with a certificate of its own", "watch": "notes it",
        "probe": "connects to the server itself, and bans it if it answers like a proxy",
    }[action.drop or action.kind]  # fmt: skip


def _describe_answer(answer: DnsAnswer) -> str:
    kind = "a malformed forged answer" if answer.malformed_edns else "a forged answer"
    if answer.rcode != "noerror":
        what = answer.rcode.upper()
    elif answer.cname is not None:
        what = f"CNAME {answer.cname}"
    else:
        what = " or ".join("A " + addresses for addresses in answer.a) or "no record"
    return f"sends {kind}: {what}, TTL {format_duration(answer.ttl)}"


def _describe_resets(action: Action) -> str:
    shape = action.rst
    assert shape is not None
    to = {"sender": "to the sender", "peer": "to the sender's peer", "both": "to both ends"}.get(
        shape.to, f"to the {shape.to}"
    )
    payload = f" with {shape.payload_bytes} bytes of payload" if shape.payload_bytes else ""
    return f"sends {shape.count} {_FLAGS.get(shape.flags, shape.flags)}{payload} {to}"


def describe_residual(residual: Residual | None) -> str:
    """Say what happens afterwards, empty if nothing does."""
    if residual is None:
        return ""
    then = "draws the reset again" if residual.reaction == "rst" else "is dropped"
    again = "; each starts the time anew" if residual.refresh else ""
    return f"for {format_duration(residual.lasts)} every packet of the same {residual.key} {then}{again}"


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def as_lines(name: str, policy: Policy, found: Sequence[Explanation]) -> list[str]:
    """Write explanations as the command prints them."""
    if not found:
        return [f"{policy.policy}: no rule hits {name}"]
    lines = []
    for item in found:
        later = "" if item.first else " (an earlier rule acts first)"
        pattern = item.hit.pattern or "being no exception"
        lines.append(f"{item.way}: rule `{item.hit.rule}`{later} by {pattern}  {item.place}")
        lines.append(f"  the censor {item.action}" + (f"; {item.residual}" if item.residual else ""))
        lines += (f"  {condition}" for condition in item.conditions)
        note = f" ({item.evidence['note']})" if item.evidence.get("note") else ""
        lines.append(f"  evidence {item.evidence['mark']}: {item.evidence['source']}{note}")
        lines.append(f"  {_overblock_line(item.overblock)}")
    silent = [way for kind, way in WAYS.items() if all(item.hit.kind != kind for item in found)]
    if silent:
        lines.append(f"{', '.join(silent)}: no rule hits {name}")
    return lines


def _overblock_line(overblock: Overblock) -> str:
    if not overblock.names:
        return f"it hits no other of {overblock.among} well-known names"
    shown = (*overblock.by_accident, *(name for name in overblock.names if name not in overblock.by_accident))
    names = ", ".join(shown[:_NAMES_SHOWN]) + (", …" if len(shown) > _NAMES_SHOWN else "")
    accident = f", {len(overblock.by_accident)} of them by accident" if overblock.by_accident else ""
    return f"it also hits {len(overblock.names)} of {overblock.among} well-known names{accident}: {names}"
