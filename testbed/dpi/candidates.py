"""The rules that stand for a flow, found once for all flows alike: by protocol and ports, then by its two addresses.

Flows of the same kind share one `Candidates`, which also knows what these rules can't look at: that is what lets the
engine pass most packets without a closer look.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.dpi.compiled import CompiledPolicy, CompiledRule
from testbed.dpi.evidence import Standing
from testbed.dpi.flow import Flow
from testbed.dpi.questions import Questions, asks_only_questions

_DNS_PORT = (53).to_bytes(2, "big")
_MOST_KINDS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The rules that stand for a flow, in the policy's order."""

    rules: tuple[CompiledRule, ...]
    always: bool = False
    """Some of them may fire at any time of the flow's life."""
    need_data: bool = False
    """Once a TCP connection stands, a segment without data concerns none of them."""
    questions: Questions | None = None
    """They look at nothing but the DNS question of a datagram, and this knows those that concern none of them."""


NOBODY = Candidates(())
"""Nobody looks at the flow."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """Flows alike in protocol, opener and ports: the rules that fit, and whether one of them asks for addresses."""

    rules: tuple[CompiledRule, ...]
    asks_addresses: bool
    candidates: Candidates
    """All these rules: what stands if none asks for addresses."""


class Standings:
    """Which rules of one policy stand for which flows; what was found for a kind of flow is kept, within bounds."""

    def __init__(self, compiled: CompiledPolicy) -> None:
        self._compiled = compiled
        self._kinds: dict[tuple[int, bool, bytes, bool], _Kind] = {}
        self._by_addresses: dict[tuple[_Kind, bytes], Candidates] = {}
        self._shared: dict[tuple[str, ...], Candidates] = {}

    def of(self, flow: Flow) -> Candidates:
        """Return the candidates of a flow."""
        key = flow.key
        alike = flow.proto, flow.from_inside, key[-2:], key[-4:-2] == _DNS_PORT
        kind = self._kinds.get(alike)
        if kind is None:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds.clear()
                self._by_addresses.clear()
            kind = self._kinds[alike] = self._fitting(flow)
        if not kind.asks_addresses:
            return kind.candidates
        pair = kind, key[:-4]
        found = self._by_addresses.get(pair)
        if found is None:
            if len(self._by_addresses) >= _MOST_KINDS:
                self._by_addresses.clear()
            rules = [rule for rule in kind.rules if _all_hold(rule.match.by_address, flow)]
            found = self._by_addresses[pair] = self._share(tuple(rules))
        return found

    def _fitting(self, flow: Flow) -> _Kind:
        fit = [rule for rule in self._compiled.rules if _all_hold(rule.match.by_ports, flow)]
        return _Kind(tuple(fit), any(rule.match.by_address for rule in fit), self._share(tuple(fit)))

    def _share(self, rules: tuple[CompiledRule, ...]) -> Candidates:
        """Return the one `Candidates` of these rules."""
        names = tuple(rule.rule.name for rule in rules)
        found = self._shared.get(names)
        if found is None:
            compiled = self._compiled
            short = bool(rules) and not compiled.counts_volume
            found = self._shared[names] = Candidates(
                rules, any(rule.ever for rule in rules), short and all(rule.needs_data or rule.waits for rule in rules),
                Questions([rule.rule.match for rule in rules], compiled.policy, compiled.policy.parser)
                if short and not compiled.keeps_opening and all(asks_only_questions(rule.rule.match) for rule in rules)
                else None,
            )  # fmt: skip
        return found


def _all_hold(tests: tuple[Standing, ...], flow: Flow) -> bool:
    return None not in [test(flow) for test in tests]
