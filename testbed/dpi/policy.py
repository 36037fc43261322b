"""Policies: a censor as data. What it matches, what it does then, how it reads, and the evidence for each rule.

Specifications only, checked and frozen; the engine compiles them. A rule without evidence is refused, because a policy
may claim only what a source supports. What nobody has measured is marked `U` and is a knob with its default here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from testbed import shipped
from testbed.documents import Document, Strict, validate
from testbed.dpi.addresses import GeoTable, read_prefixes
from testbed.dpi.concerned import concerned
from testbed.dpi.fingerprints import PROTOCOLS
from testbed.dpi.inherit import read_inherited
from testbed.dpi.injector import Injector
from testbed.dpi.match import NAME_KEYS, Match, NameSet, is_prefix, looks_like_address
from testbed.dpi.misfit import misfit
from testbed.dpi.names import NameIndex, check_pattern, read_list
from testbed.dpi.parser import Parser
from testbed.dpi.presets import PRESETS
from testbed.dpi.residual import WIDE
from testbed.dpi.rule import Rule
from testbed.dpi.tracking import Tracking
from testbed.errors import InputError, Problem
from testbed.units import Fraction

_GEOGRAPHY = "geo-emulated.csv"


@dataclass(frozen=True, slots=True)
class KernelSet:
    """A drop the kernel can decide alone: prefixes and ports of the contacted host; empty means any."""

    rule: str
    protocol: str | None
    prefixes: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that a name runs into: in which way of asking (`dns`, `http_host`, `sni`), and by which pattern.

    The pattern is empty where a rule is for all but certain names.
    """

    rule: str
    kind: str
    pattern: str


def _preset(name: str) -> str:
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, 1)
        raise ValueError(
            f"no preset `{name}`; " + (f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(PRESETS))}")
        )
    return name


class Policy(Strict):
    """A censor."""

    policy: str = Field(min_length=1)
    title: str
    about: str = ""
    extends: str | None = None
    """Another policy, by name or file: a key given here replaces the whole of that key there; own rules come first, and
    one with the name of a rule there takes its place."""
    leave_out: tuple[str, ...] = ()
    """Rules of the extended policy that are left out."""
    placement: Literal["on-path", "in-path"] = "on-path"
    """An on-path censor sees copies: it can inject, but neither drop nor delay."""
    preset: Annotated[str, AfterValidator(_preset)] | None = None
    """A named set of `parser` and `tracking` values; what is given beside it counts instead."""
    filtered_hosts: Fraction = 1.0
    """Share of the inside hosts that this censor looks at, always the same ones by the seed."""
    injector: Injector = Injector()
    parser: Parser = Parser()
    tracking: Tracking = Tracking()
    rules: tuple[Rule, ...] = ()
    names: Mapping[str, tuple[str, ...]] = Field(default={}, exclude=True)
    """The contents of the name lists the rules use; filled in by `load_policy`."""
    prefix_lists: Mapping[str, tuple[str, ...]] = Field(default={}, exclude=True)
    """The contents of the address lists the rules use; filled in by `load_policy`."""
    groups: Mapping[str, tuple[str, ...]] = Field(default={}, exclude=True)
    """The address groups of the scenario; filled in by `load_policy`."""
    geography: Any = Field(default=None, exclude=True)
    """The `GeoTable` behind `countries` and `networks`; filled in by `load_policy`."""
    plugins: Mapping[str, Any] = Field(default={}, exclude=True)
    """What plug-in matchers stand for; filled in only where the user allows plug-ins."""
    program: str = Field(default="", exclude=True)
    """The file of a program that is the box itself; such a policy has no rules that anybody could read."""

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, value: Any) -> Any:
        """Put the preset's values under those given here."""
        preset = PRESETS.get(str(value.get("preset"))) if isinstance(value, dict) else None
        if preset is None:
            return value
        return {**value, **{key: _under(preset.get(key, {}), value.get(key)) for key in ("parser", "tracking")}}

    @property
    def rule_names(self) -> tuple[str, ...]:
        """The names of the rules, in order."""
        return tuple(rule.name for rule in self.rules)

    def rule(self, name: str) -> Rule | None:
        """Return the rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    @property
    def chances(self) -> dict[str, float]:
        """The rules that act on a share of what they match only, and the share."""
        return {rule.name: rule.probability for rule in self.rules if rule.probability < 1}

    @property
    def issuers(self) -> set[str]:
        """The names under which it opens TLS connections."""
        return {rule.action.intercept.issuer for rule in self.rules if rule.action.intercept is not None}

    def without(self, rule: str) -> Policy:
        """Return the policy without one of its rules."""
        return self.model_copy(update={"rules": tuple(item for item in self.rules if item.name != rule)})

    def prefixes(self, match: Match) -> tuple[str, ...]:
        """Return a match's addresses, groups and lists resolved; a group the scenario doesn't have is empty."""
        found: list[str] = []
        for text in match.addresses:
            found += (text,) if is_prefix(text) else self.groups.get(text, ())
        for name in match.address_lists:
            found += self.prefix_lists.get(name, ())
        return tuple(found)

    def index_of(self, match: Match, key: str) -> NameIndex:
        """Return the index over one kind of names of a match."""
        return self.index(getattr(match, key))

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
            for kind in NAME_KEYS:
                pattern = self.concerned(rule, kind, asked)
                if pattern is not None:
                    hits.append(Hit(rule.name, kind, pattern))
        return tuple(hits)

    def concerned(self, rule: Rule, kind: str, name: str) -> str | None:
        """Return the pattern by which a rule can act on a name asked for in one way: see `concerned`."""
        return concerned(rule.match, kind, name, lambda names, asked: self.index(names).find(asked))

    @property
    def _must_see_all(self) -> bool:
        """Say whether there may be more to a packet than its rule.

        Its host may not be filtered, a block wider than a flow may answer it first, its bytes may count.
        """
        blocks = any(rule.action.probe or (rule.residual and rule.residual.key in WIDE) for rule in self.rules)
        counts = any(match.volume for rule in self.rules for match in rule.match.walk())
        return blocks or counts or self.filtered_hosts < 1.0

    def kernel_sets(self) -> tuple[KernelSet, ...]:
        """Return the rules that need nothing but addresses, ports and protocol to drop a packet.

        A rule is left to the engine if it looks at anything else, draws chances or leaves a residual block, or if an
        earlier rule that stays in the engine might act on the same packet first. All are, if the engine must see every
        packet.
        """
        if self._must_see_all:
            return ()
        sets: list[KernelSet] = []
        kept: list[Rule] = []
        for rule in self.rules:
            match = rule.match
            plain = rule.action.drop == "packet" and rule.residual is None and rule.probability >= 1.0
            plain = plain and not rule.by_clock and rule.moment == "any" and _is_plain(match)
            if not plain or any(_may_meet(match, earlier.match) for earlier in kept):
                kept.append(rule)
                continue
            prefixes = self.prefixes(match)
            if prefixes or not (match.addresses or match.address_lists):
                sets.append(KernelSet(rule.name, match.protocol, prefixes, match.ports))
        return tuple(sets)


def load_policy(reference: str | Path, groups: Mapping[str, Sequence[str]] | None = None) -> Policy:
    """Load a policy by shipped name or path, its lists read; `InputError` with all faults.

    A Python file is a box of the user's own; it is compiled, never run.
    """
    if str(reference).endswith(".py"):
        return _program(Path(reference))
    inherited = read_inherited(reference)
    document = inherited.document
    filled_in = [key for key in document.data if key in Policy.model_fields and Policy.model_fields[key].exclude]
    if filled_in:
        mend = "leave it out: nothing in a policy file sets this"
        raise InputError([document.problem((key,), f"unknown key `{key}`", mend) for key in filled_in])
    policy = validate(document, Policy)
    known_groups = {name: tuple(values) for name, values in (groups or {}).items()}
    problems = _reference_problems(document, policy, known_groups if groups is not None else None)
    folders = tuple(folder / "lists" for folder in (*inherited.folders, shipped.folder("policies")))
    names, prefixes = _read_lists(document, policy, folders, problems)
    geography = _read_geography(policy, folders, problems)
    if problems:
        raise InputError(problems)
    read = {"names": names, "prefix_lists": prefixes, "groups": known_groups, "geography": geography}
    return policy.model_copy(update=read)


def _program(path: Path) -> Policy:
    try:
        compile(path.read_bytes(), str(path), "exec")
    except (OSError, ValueError) as error:
        raise InputError([Problem(str(path), f"can't be read: {error}", "give a Python file")]) from None
    except SyntaxError as error:
        raise InputError([Problem(f"{path}:{error.lineno}", f"not Python: {error.msg}", "mend the program")]) from None
    return Policy(policy=path.stem, title=f"The program {path.name}", placement="in-path", program=str(path))


def refuse_program(policy: Policy, what: str) -> None:
    """Say where a box of the user's own can't stand for a policy; `InputError` if it is one."""
    if policy.program:
        mend = "it works as the policy of a box from the start, in `testbed exec`, `shell` and scenarios"
        raise InputError([Problem(policy.program, f"a program can't {what}", mend)])


def _under(base: Mapping[str, Any], given: Any) -> Any:
    """Return nested mappings with the given values over the base's."""
    if given is None:
        return dict(base)
    if not isinstance(given, Mapping):
        return given
    inner = {
        key: _under(base[key], value) if isinstance(base.get(key), Mapping) else value for key, value in given.items()
    }
    return {**base, **inner}


def _read_lists(
    document: Document, policy: Policy, folders: Sequence[Path], problems: list[Problem]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Read every list file that a rule names, once: those of names, those of prefixes."""
    names: dict[str, tuple[str, ...]] = {}
    prefixes: dict[str, tuple[str, ...]] = {}
    for index, rule in enumerate(policy.rules):
        for match in rule.match.walk():
            for key in NAME_KEYS:
                wanted: NameSet | None = getattr(match, key)
                for name in wanted.lists if wanted else ():
                    path = _find_list(document, ("rules", index, "match", key, "lists"), name, folders, problems)
                    if name not in names and path is not None:
                        names[name] = _read_list(path, problems)
            for name in match.address_lists:
                path = _find_list(document, ("rules", index, "match", "address_lists"), name, folders, problems)
                if name not in prefixes and path is not None:
                    try:
                        prefixes[name] = read_prefixes(path)
                    except InputError as error:
                        problems += error.problems
    return names, prefixes


def _find_list(
    document: Document, place: tuple[str | int, ...], name: str, folders: Sequence[Path], problems: list[Problem]
) -> Path | None:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    problems.append(document.problem(place, f"no such list `{name}`", f"put it at {folders[0] / name}"))
    return None


def _read_geography(policy: Policy, folders: Sequence[Path], problems: list[Problem]) -> GeoTable | None:
    if not any(match.countries or match.networks for rule in policy.rules for match in rule.match.walk()):
        return None
    for folder in folders:
        if (folder / _GEOGRAPHY).is_file():
            try:
                return GeoTable.read(folder / _GEOGRAPHY)
            except InputError as error:
                problems += error.problems
    return None


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
    if policy.placement == "on-path" and policy.parser.unparsed == "drop":
        what = "an on-path censor can't drop what it can't read"
        problems.append(document.problem(("parser", "unparsed"), what, "write `placement: in-path`"))
    for index, rule in enumerate(policy.rules):
        place = ("rules", index)
        if rule.name in seen:
            problems.append(document.problem((*place, "name"), f"two rules are named `{rule.name}`", "rename one"))
        seen.add(rule.name)
        drops = rule.residual is not None and rule.residual.reaction == "drop"
        if policy.placement == "on-path" and (rule.action.needs_the_path or drops):
            what = "an on-path censor can't drop, delay or throttle"
            problems.append(document.problem((*place, "action"), what, "write `placement: in-path`"))
        if (wrong := misfit(rule, policy.parser)) is not None:
            part, what, mend = wrong
            problems.append(document.problem((*place, part), what, mend))
        for match in rule.match.walk():
            problems += _match_problems(document, (*place, "match"), match, groups)
    return problems


def _match_problems(
    document: Document, place: tuple[str | int, ...], match: Match, groups: Mapping[str, tuple[str, ...]] | None
) -> list[Problem]:
    problems: list[Problem] = []
    for position, address in enumerate(match.addresses):
        if looks_like_address(address) and not is_prefix(address):
            where = (*place, "addresses", position)
            problems.append(document.problem(where, f"`{address}` is no address", "write one like `198.18.128.0/20`"))
        elif not is_prefix(address) and groups is not None and address not in groups:
            known = ", ".join(sorted(groups)) or "none"
            where = (*place, "addresses", position)
            problems.append(document.problem(where, f"no address or group `{address}`", f"groups: {known}"))
    for position, protocol in enumerate(match.looks_like):
        if protocol not in PROTOCOLS:
            near = difflib.get_close_matches(protocol, PROTOCOLS, 1)
            mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(PROTOCOLS))}"
            problems.append(document.problem((*place, "looks_like", position), f"no protocol `{protocol}`", mend))
    return problems


def _is_plain(match: Match) -> bool:
    """Say whether a match asks for nothing but protocol, ports and addresses."""
    kernel = {"protocol", "ports", "addresses", "address_lists", "everything"}
    return not match.model_fields_set - kernel


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
        return None, ((53, 53),)
    if match.http_host is not None or match.sni is not None:
        return "tcp", match.ports
    return match.protocol, match.ports
