"""From measurements to a draft policy: one rule for each way of stopping something, with its evidence.

A subject (a name, or an endpoint) enters a rule if it was measured often enough and stopped in one and the same way in
a large enough share of its measurements. What was stopped sometimes, or in several ways, is reported and not guessed.
"""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from testbed.ooni.measurement import CLOSED, REFUSED, RESET, TIMEOUT, Forged, Measurement, Page

_WAYS = {"dns": "dns", "http": "http_host", "tls": "sni"}
_SMALL_POOL = 3
_ENDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    RESET: ("reset", {"rst": {"to": "sender"}}),
    CLOSED: ("closed", {"rst": {"to": "sender", "flags": "FA"}}),
    TIMEOUT: ("silent", {"drop": "flow"}),
}
_TCP_ENDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    RESET: ("reset", {"rst": {"to": "sender", "flags": "RA"}}),
    REFUSED: ("refused", {"rst": {"to": "sender", "flags": "RA"}}),
    TIMEOUT: ("silent", {"drop": "packet"}),
    "host_unreachable": ("unreachable", {"icmp": {"code": "host"}}),
    "network_unreachable": ("unreachable", {"icmp": {"code": "net"}}),
}
_RCODES = ("nxdomain", "noerror", "servfail", "refused")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How often a subject must have been measured, and in what share of that stopped in one way."""

    measurements: int = 3
    share: float = 0.6


@dataclass(slots=True)
class _Case:
    """All measurements of one subject in one way."""

    tried: int = 0
    ends: Counter[Hashable] = field(default_factory=Counter)
    forged: Counter[str] = field(default_factory=Counter)
    ttls: Counter[int] = field(default_factory=Counter)
    pages: dict[Hashable, Page] = field(default_factory=dict)
    days: set[str] = field(default_factory=set)
    networks: Counter[str] = field(default_factory=Counter)
    confirmed: int = 0


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Something that was stopped, but too seldom or in too many ways to say how."""

    way: str
    subject: str
    tried: int
    ends: Mapping[str, int]
    why: str

    def __str__(self) -> str:
        ends = ", ".join(f"{end} {count}" for end, count in sorted(self.ends.items()))
        return f"{self.way} {self.subject}: {sum(self.ends.values())} of {self.tried} stopped ({ends}): {self.why}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A subject of a rule: stopped so often, of so many measurements."""

    subject: str
    stopped: int
    tried: int


@dataclass(frozen=True, slots=True)
class DraftRule:
    """One rule before it is written: its match without the subjects, its action, what it lists, and the evidence."""

    name: str
    way: str
    ports: tuple[int, ...]
    action: Mapping[str, Any]
    listed: tuple[Listed, ...]
    evidence: Mapping[str, str]

    @property
    def list_file(self) -> str:
        """The file the subjects go to when lists are written beside the policy."""
        return f"ooni-{self.name}.txt"


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy's rules, and what could not be made one."""

    name: str
    title: str
    about: str
    rules: tuple[DraftRule, ...]
    ambiguous: tuple[Ambiguous, ...]

    def policy(self, *, beside: bool) -> str:
        """Return the policy as YAML; `beside`: subjects are in list files, else they stand in it."""
        rules = [_rule(rule, beside) for rule in self.rules]
        in_path = any({"drop"} & set(rule.action) for rule in self.rules)
        head = {"policy": self.name, "title": self.title, "about": self.about}
        document = {**head, "placement": "in-path" if in_path else "on-path", "rules": rules}
        text = yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=118)
        return _COMMENT + text

    def lists(self) -> dict[str, str]:
        """Return the list files by name."""
        return {rule.list_file: "".join(_list_lines(rule)) for rule in self.rules}


_COMMENT = """# A draft from OONI's data: what was seen from outside the censor, not how it works. Look at each rule:
# names are exact, since only they were measured; what is not given (TTL, residual blocks, ports of names) was not seen.
"""


class _Plain(yaml.SafeDumper):
    """Writes a value again where it occurs again: anchors are for machines."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def draft(measurements: Sequence[Measurement], thresholds: Thresholds) -> Draft:
    """Draft a policy from the measurements of one country."""
    cases = _gather(measurements)
    groups: dict[tuple[str, str, Hashable], list[tuple[str, _Case]]] = defaultdict(list)
    ambiguous: list[Ambiguous] = []
    for (way, subject), case in sorted(cases.items()):
        if not case.ends:
            continue
        end, count = max(case.ends.items(), key=lambda item: (item[1], str(item[0])))
        why = _doubt(way, end, count, case, thresholds)
        if why:
            shown = {_said(key): number for key, number in case.ends.items()}
            ambiguous.append(Ambiguous(way, subject, case.tried, shown, why))
        else:
            port = subject.rpartition(":")[2] if way == "tcp" else ""
            groups[(way, port, _group(end, case))].append((subject, case))
    named: Counter[str] = Counter()
    rules = tuple(
        _draft_rule(*key, found, named) for key, found in sorted(groups.items(), key=lambda item: str(item[0]))
    )
    country = measurements[0].country if measurements else "ZZ"
    where = ", ".join(sorted({item.network for item in measurements}))
    when = _span(item.day for item in measurements)
    about = (
        f"From {len(measurements)} web_connectivity measurements of OONI, {country} ({where}), {when}. A name or "
        f"address counts from {thresholds.measurements} measurements and a share of {thresholds.share:.0%} on."
    )
    title = f"Draft from OONI measurements, {country}, {when}"
    return Draft(f"ooni-{country.lower()}", title, about, rules, tuple(ambiguous))


def _gather(measurements: Iterable[Measurement]) -> dict[tuple[str, str], _Case]:
    """Count, for each subject, the measurements that tried it: once each, stopped if any of its tries was."""
    cases: dict[tuple[str, str], _Case] = defaultdict(_Case)
    for item in measurements:
        tried: dict[tuple[str, str], list[str | Forged | Page | None]] = defaultdict(list)
        for attempt in item.tries:
            tried[(attempt.way, attempt.subject)].append(attempt.end)
        for key, ends in tried.items():
            case = cases[key]
            case.tried += 1
            stopped = [end for end in ends if end is not None]
            if not stopped or (key[0] == "dns" and None in ends):  # a true answer came as well
                continue
            case.days.add(item.day)
            case.networks[item.network] += 1
            case.confirmed += item.confirmed
            _count(case, stopped)
    return cases


def _count(case: _Case, ends: Sequence[str | Forged | Page]) -> None:
    first = ends[0]
    if isinstance(first, Page):
        case.ends[("page", first.status, first.title)] += 1
        case.pages.setdefault(("page", first.status, first.title), first)
        return
    forged = [end for end in ends if isinstance(end, Forged)]
    if not forged:
        case.ends[first] += 1
        return
    case.ends["forged"] += 1
    for end in forged:
        case.forged.update(end.addresses)
        if end.ttl_s is not None:
            case.ttls[end.ttl_s] += 1


def _doubt(way: str, end: Hashable, count: int, case: _Case, thresholds: Thresholds) -> str:
    """Return why a case makes no rule, empty if it does."""
    if case.tried < thresholds.measurements:
        return f"fewer than {thresholds.measurements} measurements"
    if count < thresholds.share * case.tried:
        return f"no one way in {thresholds.share:.0%} of them"
    known = {"tcp": set(_TCP_ENDS), "dns": {*_RCODES, TIMEOUT, "forged"}}.get(way, set(_ENDS))
    if isinstance(end, tuple) and not end[1]:
        return "a page without a status"
    if isinstance(end, tuple):
        return "" if way == "http" else "a page of its own over TLS; look whether TLS is intercepted"
    return "" if end in known else f"`{end}` has more than one explanation"


def _group(end: Hashable, case: _Case) -> Hashable:
    """Return what subjects of one rule have in common."""
    if end != "forged":
        return end
    addresses = tuple(sorted(case.forged))
    return ("forged", addresses) if len(addresses) <= _SMALL_POOL else ("forged", "pool")


def _draft_rule(
    way: str, port: str, end: Hashable, found: Sequence[tuple[str, _Case]], named: Counter[str]
) -> DraftRule:
    word, action = _action(way, end, [case for _, case in found])
    name = "-".join(part for part in (way, word, port) if part)
    named[name] += 1
    if named[name] > 1:
        name = f"{name}-{named[name]}"
    listed = tuple(Listed(_bare(way, subject), sum(case.ends.values()), case.tried) for subject, case in found)
    return DraftRule(name, way, (int(port),) if port else (), action, listed, _evidence([case for _, case in found]))


def _bare(way: str, subject: str) -> str:
    return subject.rpartition(":")[0].strip("[]") if way == "tcp" else subject


def _action(way: str, end: Hashable, cases: Sequence[_Case]) -> tuple[str, dict[str, Any]]:
    if isinstance(end, tuple) and end[0] == "page":
        page = cases[0].pages[end]
        return f"page-{page.status}", {"block_page": {"status": page.status, "body": page.body}}
    if way == "dns":
        return _dns_action(end, cases)
    word, action = (_TCP_ENDS if way == "tcp" else _ENDS)[str(end)]
    return word, dict(action)


def _dns_action(end: Hashable, cases: Sequence[_Case]) -> tuple[str, dict[str, Any]]:
    if end == TIMEOUT:
        return "silent", {"drop": "packet"}
    if end in _RCODES:
        return str(end), {"dns_answer": {"rcode": end}}
    addresses = sorted({address for case in cases for address in case.forged})
    answer: dict[str, Any] = {
        key: chosen
        for key, six in (("a", False), ("aaaa", True))
        if (chosen := [address for address in addresses if (":" in address) == six])
    }
    ttls = sum((case.ttls for case in cases), Counter[int]())
    if ttls:
        answer["ttl"] = f"{ttls.most_common(1)[0][0]} s"
    return "forged", {"dns_answer": answer}


def _evidence(cases: Sequence[_Case]) -> dict[str, str]:
    tried, stopped = sum(case.tried for case in cases), sum(sum(case.ends.values()) for case in cases)
    networks = sum((case.networks for case in cases), Counter[str]())
    confirmed = sum(case.confirmed for case in cases)
    where = ", ".join(f"{network} {count}" for network, count in networks.most_common(5))
    note = f"{stopped} of {tried} stopped where the test helper succeeded; by network: {where}"
    if confirmed:
        note += f"; {confirmed} confirmed by OONI"
    return {
        "mark": "M",
        "source": f"OONI, {tried} measurements, {_span(d for c in cases for d in c.days)}",
        "note": note,
    }


def _span(days: Iterable[str]) -> str:
    found = sorted(set(days))
    return "no date" if not found else found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _said(end: Hashable) -> str:
    return f"page {end[1]} {end[2]!r}" if isinstance(end, tuple) else str(end)


def _rule(rule: DraftRule, beside: bool) -> dict[str, Any]:
    subjects = [item.subject for item in rule.listed]
    if rule.way == "tcp":
        match: dict[str, Any] = {"protocol": "tcp"}
        match |= {"address_lists": [rule.list_file]} if beside else {"addresses": subjects}
        match["ports"] = list(rule.ports)
    else:
        names = {"lists": [rule.list_file]} if beside else {"patterns": [f"={name}" for name in subjects]}
        match = {_WAYS[rule.way]: names}
    return {"name": rule.name, "match": match, "action": dict(rule.action), "evidence": dict(rule.evidence)}


def _list_lines(rule: DraftRule) -> Iterator[str]:
    about = f"{rule.evidence['source']}; {rule.evidence['note']}"
    yield from (f"# {line}\n" for line in textwrap.wrap(about, 110))
    prefix = "" if rule.way == "tcp" else "="
    yield from (f"{prefix}{item.subject}  # {item.stopped} of {item.tried}\n" for item in rule.listed)
