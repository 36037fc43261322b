"""The standing part of a match: what a flow decides once, by protocol, ports, who opened it, and addresses."""

from __future__ import annotations

from testbed.dpi.addresses import GeoTable, PrefixTable
from testbed.dpi.evidence import NOTHING, Evidence, Standing, Surroundings
from testbed.dpi.flow import Flow
from testbed.dpi.match import Match
from testbed.wire import ip

_PROTOCOLS = {"tcp": (ip.TCP,), "udp": (ip.UDP,), "icmp": (ip.ICMP, ip.ICMPV6)}
_DNS_PORT = 53


def by_ports(match: Match) -> list[Standing]:
    """Return the tests that protocol, ports and who opened decide: the same for very many flows."""
    tests: list[Standing] = []
    protocols = _protocols(match)
    if protocols is not None:
        tests.append(lambda flow: NOTHING if flow.proto in protocols else None)
    if match.dns is not None or match.dns_types:
        tests.append(lambda flow: NOTHING if _DNS_PORT in (flow.server[1], flow.client[1]) else None)
    if match.origin is not None:
        inside = match.origin == "inside"
        tests.append(lambda flow: NOTHING if flow.from_inside is inside else None)
    if match.ports:
        ranges = match.ports

        def port(flow: Flow) -> Evidence | None:
            number = flow.server[1]
            return {"port": number} if any(low <= number <= high for low, high in ranges) else None

        tests.append(port)
    return tests


def by_address(match: Match, given: Surroundings) -> list[Standing]:
    """Return the tests that the addresses of a flow decide."""
    tests: list[Standing] = []
    if match.addresses or match.address_lists:
        table = PrefixTable(given.prefixes(match))

        def address(flow: Flow) -> Evidence | None:
            for end in flow.addresses:
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
