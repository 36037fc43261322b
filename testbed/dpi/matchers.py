"""Matches compiled for use: a part that a flow decides once, and a part that each of its packets decides.

A compiled match holds no state. The *standing* part (protocol, ports, addresses, who opened) never changes in a flow's
life, so it is asked when the flow is made, and the rules it leaves are the flow's candidates. The *passing* part is a
row of small functions over a `Sight`, cheapest first; the first that fails ends it.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.dpi.contents import contents, moments
from testbed.dpi.evidence import NOTHING, Evidence, Passing, Standing, Surroundings
from testbed.dpi.flow import Flow
from testbed.dpi.match import Match
from testbed.dpi.sight import Sight
from testbed.dpi.standing import by_address, by_ports


@dataclass(frozen=True, slots=True)
class CompiledMatch:
    """A `Match` ready for use."""

    by_ports: tuple[Standing, ...]
    """The standing tests that protocol, ports and who opened decide: the same for very many flows."""
    by_address: tuple[Standing, ...]
    passes: Passing
    """Return what matched in a packet of a flow for which the match stands, None if anything did not."""
    needs_data: bool
    """Only a packet that carries data can match."""
    ever: bool
    """May match at any time of a flow's life, so the flow is never left alone."""

    def stands(self, flow: Flow) -> bool:
        """Say whether the standing part holds for a flow."""
        return all(test(flow) is not None for test in (*self.by_ports, *self.by_address))

    def whole(self, sight: Sight) -> Evidence | None:
        """Return what matched, both parts asked."""
        evidence = self.passes(sight) if self.stands(sight.flow) else None
        return None if evidence is None else {**self.circumstances(sight.flow), **evidence}

    def circumstances(self, flow: Flow) -> Evidence:
        """Return what the standing part saw."""
        found: Evidence = {}
        for test in (*self.by_ports, *self.by_address):
            found.update(test(flow) or {})
        return found


def compile_match(match: Match, given: Surroundings) -> CompiledMatch:
    """Compile one match and all inside it."""
    passing = (*moments(match), *contents(match, given), *_combinations(match, given))
    standing = tuple(by_ports(match)), tuple(by_address(match, given))
    return CompiledMatch(*standing, _in_a_row(passing), needs_data(match), _ever(match))


def _in_a_row(tests: tuple[Passing, ...]) -> Passing:
    """Return one test that asks all, and stops at the first that fails."""
    if len(tests) == 1:
        return tests[0]

    def test(sight: Sight) -> Evidence | None:
        found = NOTHING
        for each in tests:
            evidence = each(sight)
            if evidence is None:
                return None
            if evidence:
                found = {**found, **evidence}
        return found

    return test


def needs_data(match: Match) -> bool:
    """Say whether only a packet that carries data can match.

    What is not known before data was seen can't be denied either: an exception that looks at data makes the whole
    match wait for it, or an allow-list would drop the SYN of what it allows.
    """
    own = (
        match.dns, match.http_host, match.sni, match.quic_sni, match.http, match.tls, match.quic, match.encrypted,
        match.entropy, match.first_packets, match.data_packet, match.client_packet, match.unanswered, match.plugin,
    )  # fmt: skip
    if any(item is not None for item in own) or match.payload or match.looks_like or match.dns_types:
        return True
    if any(needs_data(part) for part in (*match.all_of, *match.unless)) or (match.not_ and needs_data(match.not_)):
        return True
    return bool(match.any_of) and all(needs_data(part) for part in match.any_of)


def _ever(match: Match) -> bool:
    own = match.clock is not None or match.volume is not None or match.dns is not None or bool(match.dns_types)
    own = own or match.unanswered is not None
    return own or any(_ever(part) for part in match.parts())


def _combinations(match: Match, given: Surroundings) -> list[Passing]:
    tests: list[Passing] = []
    for part in match.all_of:
        tests.append(compile_match(part, given).whole)
    if match.any_of:
        tests.append(_any([compile_match(part, given) for part in match.any_of]))
    for part in (*match.unless, *((match.not_,) if match.not_ is not None else ())):
        tests.append(_none(compile_match(part, given)))
    return tests


def _any(parts: list[CompiledMatch]) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        return next((found for part in parts if (found := part.whole(sight)) is not None), None)

    return test


def _none(part: CompiledMatch) -> Passing:
    return lambda sight: NOTHING if part.whole(sight) is None else None
