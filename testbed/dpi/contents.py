"""The passing part of a match: what each packet decides, by whose it is, when it comes, and what it carries.

One small function a matcher, made once from its specification, asked of a `Sight`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

from testbed.dpi.encrypted import entropy, exemption, mean_popcount
from testbed.dpi.evidence import NOTHING, Evidence, Passing, Surroundings
from testbed.dpi.fingerprints import recognise
from testbed.dpi.match import Bounds, FirstPackets, HttpMatch, Match, QuicMatch, Signature, TlsMatch, regex_bytes
from testbed.dpi.names import NameIndex
from testbed.dpi.sight import Sight
from testbed.wire import dns, http, ip, ja
from testbed.wire.quic_packet import Kind

_KINDS = {Kind.ZERO_RTT: "0rtt", Kind.VERSION_NEGOTIATION: "version-negotiation"}
"""Kinds of QUIC packets that policies write otherwise."""


def moments(match: Match) -> list[Passing]:
    """Return the tests about whose packet it is and when it comes."""
    tests: list[Passing] = []
    if match.sender is not None:
        tests.append(_sender(match.sender))
    if match.source_port_above is not None:
        above = match.source_port_above
        tests.append(lambda sight: NOTHING if (sight.sport > sight.dport) is above else None)
    if (number := match.data_packet) is not None:
        tests.append(lambda sight: NOTHING if number.hold(sight.flow.data_packets) else None)
    if (of_client := match.client_packet) is not None:
        tests.append(lambda sight: NOTHING if sight.from_client and of_client.hold(sight.flow.client_packets) else None)
    if (least := match.unanswered) is not None:
        tests.append(_unanswered(least))
    if (clock := match.clock) is not None:
        tests.append(lambda sight: NOTHING if clock.holds(sight.now) else None)
    return tests


def _unanswered(least: int) -> Passing:
    def test(sight: Sight) -> Evidence | None:
        sent = sight.flow.client_packets
        return {"unanswered": sent} if sent >= least and sent == sight.flow.data_packets else None

    return test


def _sender(sender: str) -> Passing:
    if sender in ("inside", "outside"):
        inside = sender == "inside"
        return lambda sight: NOTHING if sight.from_inside is inside else None
    client = sender == "client"
    return lambda sight: NOTHING if sight.from_client is client else None


def contents(match: Match, given: Surroundings) -> list[Passing]:
    """Return the tests about what a packet carries."""
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


def asked(match: Match, given: Surroundings) -> Callable[[dns.Query], Evidence | None]:
    """Return the test of a DNS question."""
    index = given.index_of(match, "dns") if match.dns is not None else None
    types = set(match.dns_types)

    def test(query: dns.Query) -> Evidence | None:
        if types and query.qtype not in types:
            return None
        found: Evidence = {"dns": query.qname, "qtype": query.qtype}
        if index is not None:
            pattern = index.find(query.qname)
            if pattern is None:
                return None
            found["pattern"] = pattern
        return found

    return test


def _question(match: Match, given: Surroundings) -> Passing:
    test = asked(match, given)
    return lambda sight: test(query) if (query := sight.query) is not None else None


def _needles(texts: Sequence[str], *, quoted: bool = False) -> tuple[tuple[bytes, str], ...]:
    """Return the bytes that texts are looked for by, in lower case as far as ASCII goes, each with its text.

    What is not ASCII is looked for in UTF-8, in lower case and as written; `quoted`: as in URLs, too.
    """
    found: dict[bytes, str] = {}
    for text in texts:
        for form in (text.lower(), text):
            found.setdefault(form.encode().lower(), text.lower())
            if quoted and not form.isascii():
                found.setdefault(quote(form, safe="/?#[]@!$&'()*+,;=%").encode().lower(), text.lower())
    return tuple(found.items())


def _first_in(needles: tuple[tuple[bytes, str], ...], where: bytes) -> tuple[bytes, str] | None:
    return next((needle for needle in needles if needle[0] in where), None)


def _http(wanted: HttpMatch) -> Passing:
    methods = {method.upper() for method in wanted.methods}
    url, keyword = _needles(wanted.url, quoted=True), _needles(wanted.keyword)

    def one(request: http.Request, sight: Sight) -> Evidence | None:
        if methods and request.method not in methods:
            return None
        found: Evidence = {"method": request.method, "target": request.target[:200]}
        for needles, where, name in ((url, request.target.encode("latin-1"), "url"), (keyword, sight.data, "keyword")):
            if needles:
                hit = _first_in(needles, where.lower())
                if hit is None:
                    return None
                found[name] = hit[1]
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
        if header.kind is Kind.UNKNOWN:  # nobody knows which packet it is: the version must be asked for
            if not wanted.versions:
                return None
        elif wanted.kinds and _KINDS.get(header.kind, header.kind.value) not in wanted.kinds:
            return None
        if wanted.empty_dcid is not None and wanted.empty_dcid is bool(header.dcid):
            return None
        return {"quic": {"version": f"{header.version:#x}", "kind": header.kind.value, "bytes": len(sight.payload)}}

    return test


def _payload(signatures: tuple[Signature, ...]) -> Passing:
    compiled = tuple(
        (
            spec, bytes.fromhex(spec.prefix), _needles(spec.contains),
            re.compile(regex_bytes(spec.regex), re.DOTALL) if spec.regex is not None else None,
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
                hit = _first_in(texts, lower)
                if hit is None:
                    continue
                return {"payload": {"length": size, "contains": hit[1], "at": lower.index(hit[0])}}
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
