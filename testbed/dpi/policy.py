"""Policies: what a censor matches, what it does then, and the evidence for each rule.

Specifications only, checked and frozen; the engine compiles them. A rule without evidence is refused, because a policy
may claim only what a source supports. What nobody has measured is marked `U` and is a knob with its default here.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from testbed import shipped
from testbed.documents import Document, Strict, read_document, validate
from testbed.dpi.names import NameIndex, check_pattern, read_list
from testbed.errors import InputError, Problem
from testbed.units import Duration, Fraction, Rate, Size

Pattern = Annotated[str, AfterValidator(check_pattern)]


def _port_range(value: object) -> tuple[int, int]:
    low, _, high = str(value).partition("-")
    try:
        first, last = int(low), int(high or low)
    except ValueError:
        first, last = 1, 0
    if not 0 < first <= last < 65536:
        raise ValueError(f"{value!r} is not a port; write 443 or 3478-3479")
    return first, last


def _hex(value: object) -> str:
    try:
        return bytes.fromhex(str(value)).hex()
    except ValueError:
        raise ValueError(f"{value!r} is not hexadecimal bytes; write them like `09 02`") from None


PortRange = Annotated[tuple[int, int], BeforeValidator(lambda v: tuple(v) if isinstance(v, tuple) else _port_range(v))]


class Evidence(Strict):
    """Why a rule may claim what it does: M measured, R reported, I inferred, U unknown, G general, D digest."""

    mark: Literal["M", "R", "I", "U", "D", "G", "M+R"]
    source: str
    note: str = ""


class NameSet(Strict):
    """Names by pattern, by list file in `policies/lists`, or both."""

    patterns: tuple[Pattern, ...] = ()
    lists: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> NameSet:
        if not self.patterns and not self.lists:
            raise ValueError("no names; add `patterns:` or `lists:`")
        return self


class Signature(Strict):
    """The shape of a UDP or TCP payload: its length in bytes, its first bytes in hexadecimal."""

    length: int | None = None
    shortest: int | None = None
    longest: int | None = None
    prefix: Annotated[str, BeforeValidator(_hex)] = ""


class Match(Strict):
    """What a rule looks for; everything given must hold. Addresses and ports are those of the contacted host."""

    dns: NameSet | None = None
    http_host: NameSet | None = None
    sni: NameSet | None = None
    payload: tuple[Signature, ...] = ()
    addresses: tuple[str, ...] = ()
    """Prefixes, or names of address groups of the scenario."""
    ports: tuple[PortRange, ...] = ()
    protocol: Literal["tcp", "udp", "icmp"] | None = None
    origin: Literal["inside", "outside"] | None = None
    """Which side opened the flow."""
    unless: tuple[Match, ...] = ()
    everything: bool = False

    @model_validator(mode="after")
    def _not_empty(self) -> Match:
        if not self.everything and self == Match.model_construct():
            raise ValueError("nothing to match; add a matcher, or `everything: true`")
        return self


class Reset(Strict):
    """A forged TCP reset. `to`: the sender of the offending packet, its peer, or both."""

    to: Literal["sender", "peer", "both"] = "sender"
    count: int = Field(default=1, ge=1, le=16)
    flags: Literal["R", "RA", "F", "FA"] = "R"
    window: int = Field(default=0, ge=0, le=65535)
    payload_bytes: int = Field(default=0, ge=0, le=1000)


class DnsAnswer(Strict):
    """A forged DNS answer. `malformed_edns`: the bug of 2021, which appends the record behind an EDNS query's OPT."""

    a: str = "127.0.0.1"
    ttl: Duration = 300.0
    malformed_edns: bool = False


class BlockPage(Strict):
    """A forged HTTP response that ends the connection."""

    status: int = 403
    body: str = "<html><body><h1>Access denied</h1></body></html>\n"


class Throttle(Strict):
    """A ceiling for a flow: `police` drops what exceeds it, `shape` delays it."""

    rate: Rate
    burst: Size = 16000
    mode: Literal["police", "shape"] = "police"


class Action(Strict):
    """What the censor does; exactly one."""

    rst: Reset | None = None
    dns_answer: DnsAnswer | None = None
    block_page: BlockPage | None = None
    throttle: Throttle | None = None
    delay: Duration | None = None
    drop: Literal["packet", "flow"] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Action:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"{len(self.model_fields_set)} actions; give exactly one")
        return self


class Residual(Strict):
    """How long, and for which later packets, a rule goes on after it has fired."""

    lasts: Duration
    key: Literal["2-tuple", "3-tuple", "4-tuple"] = "4-tuple"
    reaction: Literal["rst", "drop"] = "rst"
    refresh: bool = False


class Rule(Strict):
    """One rule. `moment`: which packet of a TCP flow an address rule acts on."""

    name: str
    match: Match
    action: Action
    residual: Residual | None = None
    probability: Fraction = 1.0
    """Of a connection (or DNS query) being acted on."""
    moment: Literal["any", "handshake"] = "any"
    teardown: Literal["any", "valid", "ignored"] = "any"
    """Which RST makes the censor forget a flow: any, only one with a right checksum, none."""
    needs_handshake: bool = False
    """Without a handshake the rule arms its residual block but stays silent (facts §1)."""
    evidence: Evidence


class Injector(Strict):
    """The fingerprint of the censor's own packets."""

    ip_id: int = Field(default=0, ge=0, le=65535)
    ttl: int = Field(default=64, ge=1, le=255)
    df: bool = False
    tos: int = Field(default=0, ge=0, le=255)


class Parser(Strict):
    """What the censor's parsers tolerate."""

    dns_max_count: int = 65535
    http_leading_newline: bool = False
    http_space_after_version: bool = False
    http_space_before_host: bool = False
    http_longest_host: int = 256
    tls_join_records: bool = False
    reassembly: Literal["none", "in-order"] = "none"
    packets_inspected: int = Field(default=16, ge=1)
    """Data packets of a flow that are looked at before it is left alone. U: default 16."""
    verify_checksum: bool = False


@dataclass(frozen=True, slots=True)
class KernelSet:
    """A drop the kernel can decide alone: prefixes and ports of the contacted host; empty means any."""

    rule: str
    protocol: str | None
    prefixes: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that a name runs into: which list (`dns`, `http_host`, `sni`) and which pattern of it."""

    rule: str
    kind: str
    pattern: str


class Policy(Strict):
    """A censor."""

    policy: str
    title: str
    about: str = ""
    placement: Literal["on-path", "in-path"] = "on-path"
    """An on-path censor sees copies: it can inject, but neither drop nor delay."""
    injector: Injector = Injector()
    parser: Parser = Parser()
    rules: tuple[Rule, ...] = ()
    names: Mapping[str, tuple[str, ...]] = Field(default={}, exclude=True)
    """The contents of the list files the rules name; filled in by `load_policy`."""
    groups: Mapping[str, tuple[str, ...]] = Field(default={}, exclude=True)
    """The address groups of the scenario; filled in by `load_policy`."""

    @property
    def rule_names(self) -> tuple[str, ...]:
        """The names of the rules, in order."""
        return tuple(rule.name for rule in self.rules)

    def without(self, rule: str) -> Policy:
        """Return the policy without one of its rules."""
        return self.model_copy(update={"rules": tuple(item for item in self.rules if item.name != rule)})

    def prefixes(self, match: Match) -> tuple[str, ...]:
        """Return a match's addresses, groups resolved; a group the scenario doesn't have is empty."""
        found: list[str] = []
        for text in match.addresses:
            found += (text,) if _is_prefix(text) else self.groups.get(text, ())
        return tuple(found)

    def index(self, names: NameSet) -> NameIndex:
        """Return the index over a rule's patterns and lists; built once, however often it is asked for."""
        kept = self._indexes.get(names)
        if kept is None or kept[0] is not self.names:
            patterns = [*names.patterns, *(item for name in names.lists for item in self.names.get(name, ()))]
            kept = self._indexes[names] = (self.names, NameIndex(patterns))
        return kept[1]

    @cached_property
    def _indexes(self) -> dict[NameSet, tuple[Mapping[str, tuple[str, ...]], NameIndex]]:
        """The indexes built so far; copies of a policy share them as long as they share the lists."""
        return {}

    def explain(self, name: str) -> tuple[Hit, ...]:
        """Say which rules a name runs into, in the policy's order, and by which pattern."""
        asked = name.lower().rstrip(".")
        hits: list[Hit] = []
        for rule in self.rules:
            for kind in ("dns", "http_host", "sni"):
                names: NameSet | None = getattr(rule.match, kind)
                pattern = self.index(names).find(asked) if names else None
                if pattern is not None:
                    hits.append(Hit(rule.name, kind, pattern))
        return tuple(hits)

    def kernel_sets(self) -> tuple[KernelSet, ...]:
        """Return the rules that need nothing but addresses, ports and protocol to drop a packet.

        A rule is left to the engine if it draws chances, leaves a residual block, has exceptions or asks who opened
        the flow, or if an earlier rule that stays in the engine might act on the same packet first.
        """
        sets: list[KernelSet] = []
        kept: list[Rule] = []
        for rule in self.rules:
            match = rule.match
            looks_inside = match.dns or match.http_host or match.sni or match.payload or match.unless or match.origin
            plain = rule.action.drop == "packet" and rule.residual is None and rule.probability >= 1.0
            first = any(_may_meet(match, earlier.match) for earlier in kept)
            if looks_inside or not plain or rule.moment != "any" or first:
                kept.append(rule)
                continue
            prefixes = self.prefixes(match)
            if prefixes or not match.addresses:
                sets.append(KernelSet(rule.name, match.protocol, prefixes, match.ports))
        return tuple(sets)


def load_policy(reference: str | Path, groups: Mapping[str, Sequence[str]] | None = None) -> Policy:
    """Load a policy by shipped name or path, its lists read; `InputError` with all faults."""
    path = shipped.find(reference, "policies")
    if not path.exists() and path.parent == shipped.folder("policies"):
        known = shipped.names("policies")
        near = difflib.get_close_matches(str(reference), known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
        raise InputError([Problem(str(reference), "no such policy", mend)])
    document = read_document(path)
    policy = validate(document, Policy)
    problems: list[Problem] = []
    names = _read_lists(document, policy, path.parent / "lists", problems)
    known_groups = {name: tuple(values) for name, values in (groups or {}).items()}
    problems += _reference_problems(document, policy, known_groups if groups is not None else None)
    if problems:
        raise InputError(problems)
    return policy.model_copy(update={"names": names, "groups": known_groups})


def _read_lists(
    document: Document, policy: Policy, folder: Path, problems: list[Problem]
) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    for index, rule in enumerate(policy.rules):
        for key in ("dns", "http_host", "sni"):
            wanted: NameSet | None = getattr(rule.match, key)
            for name in wanted.lists if wanted else ():
                path = folder / name
                if name in names:
                    continue
                if not path.is_file():
                    place = ("rules", index, "match", key, "lists")
                    problems.append(document.problem(place, f"no such list `{name}`", f"put it at {path}"))
                    continue
                names[name] = _read_list(path, problems)
    return names


def _read_list(path: Path, problems: list[Problem]) -> tuple[str, ...]:
    patterns: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"{path}:1", f"can't be read: {error}", "give a text file in UTF-8"))
        return ()
    for number, text in read_list(lines):
        try:
            patterns.append(check_pattern(text))
        except ValueError as error:
            what, _, mend = str(error).partition("; ")
            problems.append(Problem(f"{path}:{number}", what, mend))
    return tuple(patterns)


def _reference_problems(
    document: Document, policy: Policy, groups: Mapping[str, tuple[str, ...]] | None
) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    for index, rule in enumerate(policy.rules):
        place = ("rules", index)
        if rule.name in seen:
            problems.append(document.problem((*place, "name"), f"two rules are named `{rule.name}`", "rename one"))
        seen.add(rule.name)
        acts_on_packet = rule.action.drop or rule.action.throttle or rule.action.delay is not None
        if policy.placement == "on-path" and acts_on_packet:
            what = "an on-path censor can't drop, delay or throttle"
            problems.append(document.problem((*place, "action"), what, "write `placement: in-path`"))
        for position, address in enumerate(rule.match.addresses):
            if not _is_prefix(address) and groups is not None and address not in groups:
                where = (*place, "match", "addresses", position)
                known = ", ".join(sorted(groups)) or "none"
                problems.append(document.problem(where, f"no address or group `{address}`", f"groups: {known}"))
    return problems


def _may_meet(one: Match, other: Match) -> bool:
    """Say whether one packet may satisfy both matches, judged by protocol and port alone."""
    (protocol, ports), (other_protocol, other_ports) = _reach(one), _reach(other)
    if protocol and other_protocol and protocol != other_protocol:
        return False
    if not ports or not other_ports:
        return True
    return any(a <= d and c <= b for a, b in ports for c, d in other_ports)


def _reach(match: Match) -> tuple[str | None, tuple[tuple[int, int], ...]]:
    if match.dns is not None:
        return "udp", ((53, 53),)
    if match.http_host is not None or match.sni is not None:
        return "tcp", match.ports
    return match.protocol, match.ports


def _is_prefix(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
