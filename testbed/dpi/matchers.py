"""Matches compiled for use: a part that a flow decides once, and a part that each of its packets decides.

A compiled match holds no state. The *standing* part (protocol, ports, addresses, who opened) never changes in a flow's
life, so it is asked when the flow is made, and the rules it leaves are the flow's candidates. The *passing* part is a
row of small functions over a `Sight`, cheapest first; the first that fails ends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from testbed.dpi.addresses import GeoTable, PrefixTable
from testbed.dpi.encrypted import entropy, exemption, mean_popcount
from testbed.dpi.fingerprints import recognise
from testbed.dpi.flow import Flow
from testbed.dpi.match import Bounds, FirstPackets, HttpMatch, Match, QuicMatch, Signature, TlsMatch
from testbed.dpi.names import NameIndex
from testbed.dpi.sight import Sight
from testbed.wire import http, ip, ja

Evidence = dict[str, Any]
Standing = Callable[[Flow], Evidence | None]
Passing = Callable[[Sight], Evidence | None]
PlugIn = Callable[[Sight], Evidence | None]
_PROTOCOLS = {"tcp": (ip.TCP,), "udp": (ip.UDP,), "icmp": (ip.ICMP, ip.ICMPV6)}
_NOTHING: Evidence = {}
_DNS_PORT = 53


class Surroundings(Protocol):
    """What a policy gives its matches: the names and prefixes that stand in files, groups, geography, plug-ins."""

    def index_of(self, match: Match, key: str) -> NameIndex:
        """Return the index over a match's names."""

    def prefixes(self, match: Match) -> tuple[str, ...]:
        """Return the prefixes of a match, groups and list files resolved."""

    @property
    def geography(self) -> GeoTable | None:
        """The table of countries and networks."""

    @property
    def plugins(self) -> Mapping[str, PlugIn]:
        """The callables that plug-in matchers stand for."""


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
    passing = (*_moments(match), *_contents(match, given), *_combinations(match, given))
    by_ports, by_address = tuple(_by_ports(match)), tuple(_by_address(match, given))
    return CompiledMatch(by_ports, by_address, _in_a_row(passing), needs_data(match), _ever(match))


def _in_a_row(tests: tuple[Passing, ...]) -> Passing:
    """Return one test that asks all, and stops at the first that fails."""
    if len(tests) == 1:
        return tests[0]

    def test(sight: Sight) -> Evidence | None:
        found = _NOTHING
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


def _by_ports(match: Match) -> list[Standing]:
    tests: list[Standing] = []
    protocols = _protocols(match)
    if protocols is not None:
        tests.append(lambda flow: _NOTHING if flow.proto in protocols else None)
    if match.dns is not None or match.dns_types:
        tests.append(lambda flow: _NOTHING if _DNS_PORT in (flow.server[1], flow.client[1]) else None)
    if match.origin is not None:
        inside = match.origin == "inside"
        tests.append(lambda flow: _NOTHING if flow.from_inside is inside else None)
    if match.ports:
        ranges = match.ports

        def port(flow: Flow) -> Evidence | None:
            number = flow.server[1]
            return {"port": number} if any(low <= number <= high for low, high in ranges) else None

        tests.append(port)
    return tests


def _by_address(match: Match, given: Surroundings) -> list[Standing]:
    tests: list[Standing] = []
    if match.addresses or match.address_lists:
        table = PrefixTable(given.prefixes(match))

        def address(flow: Flow) -> Evidence | None:
            for end in (flow.server[0], flow.client[0]):
                if prefix := table.find(end):
                    return {"address": ip.address_text(end), "prefix": prefix}
            return None

        tests.append(address)
    if match.countries or match.networks:
        tests.append(_geography(match, given.geography))
    return tests


def _protocols(match: Match) -> frozenset[int] | None:
    """Return the protocol numbers that a match can hold for, asked for or implied by what it reads; None: any."""
    asked = [frozenset(_PROTOCOLS[match.protocol])] if match.protocol is not None else []
    if match.http_host is not None or match.sni is not None or match.http is not None:
        asked.append(frozenset((ip.TCP,)))
    if match.quic_sni is not None or match.quic is not None:
        asked.append(frozenset((ip.UDP,)))
    if match.dns is not None or match.dns_types or match.tls is not None:
        asked.append(frozenset((ip.TCP, ip.UDP)))
    return frozenset.intersection(*asked) if asked else None


def _geography(match: Match, table: GeoTable | None) -> Standing:
    countries, networks = {name.upper() for name in match.countries}, set(match.networks)

    def place(flow: Flow) -> Evidence | None:
        if table is None:
            return None
        address = flow.server[0] if flow.from_inside else flow.client[0]
        country, number = table.country(address), table.asn(address)
        if (countries and country not in countries) or (networks and number not in networks):
            return None
        return {"address": ip.address_text(address), "country": country, "asn": number}

    return place


def _moments(match: Match) -> list[Passing]:
    tests: list[Passing] = []
    if match.sender is not None:
        tests.append(_sender(match.sender))
    if match.source_port_above is not None:
        above = match.source_port_above
        tests.append(lambda sight: _NOTHING if (sight.sport > sight.dport) is above else None)
    if (number := match.data_packet) is not None:
        tests.append(lambda sight: _NOTHING if number.hold(sight.flow.data_packets) else None)
    if (of_client := match.client_packet) is not None:
        tests.append(
            lambda sight: _NOTHING if sight.from_client and of_client.hold(sight.flow.client_packets) else None
        )
    if (least := match.unanswered) is not None:
        tests.append(_unanswered(least))
    if (clock := match.clock) is not None:
        tests.append(lambda sight: _NOTHING if clock.holds(sight.now) else None)
    return tests


def _unanswered(least: int) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        sent = sight.flow.client_packets
        return {"unanswered": sent} if sent >= least and sent == sight.flow.data_packets else None

    return test


def _sender(sender: str) -> Passing:
    if sender in ("inside", "outside"):
        inside = sender == "inside"
        return lambda sight: _NOTHING if sight.from_inside is inside else None
    client = sender == "client"
    return lambda sight: _NOTHING if sight.from_client is client else None


def _contents(match: Match, given: Surroundings) -> list[Passing]:
    tests: list[Passing] = []
    if match.http_host is not None:
        tests.append(_hosted(given.index_of(match, "http_host")))
    for key in ("sni", "quic_sni"):
        if getattr(match, key) is not None:
            tests.append(_named(key, given.index_of(match, key)))
    if match.dns is not None or match.dns_types:
        tests.append(_question(match, given))
    if match.http is not None:
        tests.append(_http(match.http))
    if match.tls is not None:
        tests.append(_tls(match.tls))
    if match.quic is not None:
        tests.append(_quic(match.quic))
    if match.payload:
        tests.append(_payload(match.payload))
    if match.encrypted is not None:
        tests.append(_encrypted)
    if match.entropy is not None:
        tests.append(_entropy(match.entropy))
    if match.first_packets is not None:
        tests.append(_first_packets(match.first_packets))
    if match.looks_like:
        tests.append(_looks_like(match.looks_like))
    if match.volume is not None:
        volume = match.volume
        tests.append(lambda sight: sight.volumes.exceeded(sight, volume))
    if match.plugin is not None:
        tests.append(given.plugins[match.plugin])
    return tests


def _named(part: str, index: NameIndex) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        name = getattr(sight, part)
        if name is None:
            return None
        pattern = index.find(name)
        return None if pattern is None else {part: name, "pattern": pattern}

    return test


def _hosted(index: NameIndex) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        for name in sight.http_hosts:
            pattern = index.find(name)
            if pattern is not None:
                return {"http_host": name, "pattern": pattern}
        return None

    return test


def _question(match: Match, given: Surroundings) -> Passing:
    index = given.index_of(match, "dns") if match.dns is not None else None
    types = set(match.dns_types)

    def test(sight: Sight) -> Evidence | None:
        query = sight.query
        if query is None or (types and query.qtype not in types):
            return None
        found: Evidence = {"dns": query.qname, "qtype": query.qtype}
        if index is not None:
            pattern = index.find(query.qname)
            if pattern is None:
                return None
            found["pattern"] = pattern
        return found

    return test


def _http(wanted: HttpMatch) -> Passing:
    methods = {method.upper() for method in wanted.methods}
    url, keyword = (tuple(text.lower() for text in texts) for texts in (wanted.url, wanted.keyword))

    def one(request: http.Request, sight: Sight) -> Evidence | None:
        if methods and request.method not in methods:
            return None
        found: Evidence = {"method": request.method, "target": request.target[:200]}
        for texts, where, name in ((url, request.target, "url"), (keyword, sight.data.decode("latin-1"), "keyword")):
            if texts:
                hit = next((text for text in texts if text in where.lower()), None)
                if hit is None:
                    return None
                found[name] = hit
        return found

    return lambda sight: next((found for each in sight.requests if (found := one(each, sight)) is not None), None)


def _tls(wanted: TlsMatch) -> Passing:
    alpn, ja3, ja4 = set(wanted.alpn), set(wanted.ja3), set(wanted.ja4)

    def test(sight: Sight) -> Evidence | None:
        hello = sight.hello
        if hello is None:
            return None
        for asked, seen in (
            (wanted.has_sni, hello.sni is not None), (wanted.ech, hello.has_ech), (wanted.esni, hello.has_esni),
        ):  # fmt: skip
            if asked is not None and asked is not seen:
                return None
        if alpn and not alpn & set(hello.alpn):
            return None
        if wanted.shortest is not None and len(sight.data) < wanted.shortest:
            return None
        found: Evidence = {"hello": {"sni": hello.sni, "ech": hello.has_ech, "esni": hello.has_esni}}
        if ja3 or ja4:
            prints = ja.ja3(hello), ja.ja4(hello, "q" if sight.proto == ip.UDP else "t")
            if (ja3 and prints[0] not in ja3) or (ja4 and prints[1] not in ja4):
                return None
            found["ja3"], found["ja4"] = prints
        return found

    return test


def _quic(wanted: QuicMatch) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        header = sight.quic_packet
        if header is None or (wanted.versions and header.version not in wanted.versions):
            return None
        if wanted.kinds and header.kind.value not in wanted.kinds:
            return None
        if wanted.empty_dcid is not None and wanted.empty_dcid is bool(header.dcid):
            return None
        return {"quic": {"version": f"{header.version:#x}", "kind": header.kind.value, "bytes": len(sight.payload)}}

    return test


def _payload(signatures: tuple[Signature, ...]) -> Passing:
    compiled = tuple(
        (
            spec, bytes.fromhex(spec.prefix), tuple(text.lower().encode() for text in spec.contains),
            re.compile(spec.regex.encode("latin-1", "replace"), re.DOTALL) if spec.regex is not None else None,
        )
        for spec in signatures
    )  # fmt: skip

    def test(sight: Sight) -> Evidence | None:
        data = sight.data
        for spec, prefix, texts, regex in compiled:
            size = len(data)
            if (spec.length is not None and size != spec.length) or size < (spec.shortest or 0):
                continue
            if spec.longest is not None and size > spec.longest:
                continue
            if prefix and not data.startswith(prefix, spec.offset):
                continue
            if texts:
                lower = data.lower()
                hit = next((text for text in texts if text in lower), None)
                if hit is None:
                    continue
                return {"payload": {"length": size, "contains": hit.decode("latin-1"), "at": lower.index(hit)}}
            if regex is not None:
                found = regex.search(data)
                if found is None:
                    continue
                return {"payload": {"length": size, "matched": found[0][:64].hex(), "at": found.start()}}
            return {"payload": {"length": size, "prefix": data[: max(4, len(prefix))].hex()}}
        return None

    return test


def _encrypted(sight: Sight) -> Evidence | None:
    if not sight.from_client or sight.flow.client_packets != 1 or exemption(sight.payload) is not None:
        return None
    return {"encrypted": {"length": len(sight.payload), "popcount": round(mean_popcount(sight.payload), 3)}}


def _entropy(bounds: Bounds) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        value = entropy(sight.payload)
        return {"entropy": round(value, 3), "length": len(sight.payload)} if bounds.hold(value) else None

    return test


def _first_packets(wanted: FirstPackets) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        shown = sight.flow.more().opening.packets
        if len(shown) != len(wanted.sizes):
            return None
        sizes = [item.length if item.from_client else -item.length for item in shown]
        if not all(bounds.hold(size) for bounds, size in zip(wanted.sizes, sizes, strict=True)):
            return None
        took = shown[-1].at - shown[0].at
        return {"sizes": sizes, "within_s": round(took, 6)} if wanted.within is None or took <= wanted.within else None

    return test


def _looks_like(protocols: tuple[str, ...]) -> Passing:
    wanted = frozenset(protocols)

    def test(sight: Sight) -> Evidence | None:
        found = recognise(sight.flow.more().opening, wanted)
        return {"looks_like": found.protocol, **found.evidence} if found is not None else None

    return test


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
    return lambda sight: _NOTHING if part.whole(sight) is None else None
