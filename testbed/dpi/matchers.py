"""Rules compiled for matching: name lists to indexes, addresses to integers, signatures to bytes.

A compiled rule holds no state. `Sight` is what one packet shows; each part is parsed at most once, whatever the number
of rules that ask.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from testbed.dpi.flow import Flow
from testbed.dpi.names import NameIndex
from testbed.dpi.policy import Match, NameSet, Parser, Policy, Rule, Signature
from testbed.wire import dns, http, ip, tcp, tls, udp

_PROTOCOLS = {"tcp": (ip.TCP,), "udp": (ip.UDP,), "icmp": (ip.ICMP, ip.ICMPV6)}


class Sight:
    """What the censor sees in one packet of a flow; parsed when first asked for, then kept."""

    def __init__(
        self, packet: ip.Packet, flow: Flow, transport: tcp.Segment | udp.Datagram | None, data: bytes, parser: Parser
    ) -> None:
        self.packet, self.flow, self.transport, self.data = packet, flow, transport, data
        self._parser = parser

    @cached_property
    def query(self) -> dns.Query | None:
        """The DNS question of a datagram to port 53."""
        if not isinstance(self.transport, udp.Datagram) or self.transport.dport != 53:
            return None
        try:
            found = dns.parse_query(self.data, self._parser.dns_max_count)
        except ValueError:
            return None
        return None if found.is_response else found

    @cached_property
    def http_host(self) -> str | None:
        """The Host of an HTTP request."""
        if not isinstance(self.transport, tcp.Segment) or not self.data:
            return None
        knobs = http.Knobs(
            self._parser.http_leading_newline, self._parser.http_space_after_version,
            self._parser.http_space_before_host, self._parser.http_longest_host,
        )  # fmt: skip
        request = http.parse_request(self.data, knobs)
        return request.host if request else None

    @cached_property
    def sni(self) -> str | None:
        """The server name of a TLS ClientHello."""
        if not isinstance(self.transport, tcp.Segment) or not self.data or self.data[0] != tls.HANDSHAKE_RECORD:
            return None
        try:
            hello = tls.client_hello(self.data, join_records=self._parser.tls_join_records)
        except tls.NeedMore:
            return _sni_of_beginning(self.data) if self._parser.reassembly == "none" else None
        except ValueError:
            return None
        return hello.sni if hello else None


def _sni_of_beginning(data: bytes) -> str | None:
    """Read the name from the first packet of a hello that is larger than one packet, if it stands there whole.

    A censor that reads packets one by one pads nothing: it finds the extension or it does not.
    """
    if len(data) < 64 or data[5] != tls.CLIENT_HELLO:
        return None
    return tls.sni_of_beginning(data)


@dataclass(frozen=True, slots=True)
class CompiledMatch:
    """A `Match` ready for use."""

    spec: Match
    names: Mapping[str, NameIndex]
    networks: tuple[tuple[int, int, int], ...]
    """(IP version, network, mask) of each prefix."""
    signatures: tuple[tuple[Signature, bytes], ...]
    unless: tuple[CompiledMatch, ...] = field(default=())

    def evidence(self, sight: Sight) -> dict[str, Any] | None:
        """Return what matched, None if anything asked for did not."""
        spec, found = self.spec, dict[str, Any]()
        if spec.protocol is not None and sight.packet.proto not in _PROTOCOLS[spec.protocol]:
            return None
        if spec.origin is not None and sight.flow.from_inside != (spec.origin == "inside"):
            return None
        if spec.ports and not any(low <= sight.flow.server[1] <= high for low, high in spec.ports):
            return None
        if spec.ports:
            found["port"] = sight.flow.server[1]
        if spec.addresses:
            address = self._listed_address(sight.flow)
            if address is None:
                return None
            found["address"] = address
        for kind, index in self.names.items():
            name = getattr(sight.query, "qname", None) if kind == "dns" else getattr(sight, kind)
            pattern = index.find(name) if name else None
            if pattern is None:
                return None
            found[kind], found["pattern"] = name, pattern
        if self.signatures and not self._signature(sight.data, found):
            return None
        if any(other.evidence(sight) is not None for other in self.unless):
            return None
        return found

    def _listed_address(self, flow: Flow) -> str | None:
        for address, _ in (flow.server, flow.client):
            version, number = (4 if len(address) == 4 else 6), int.from_bytes(address, "big")
            if any(v == version and number & mask == network for v, network, mask in self.networks):
                return ip.address_text(address)
        return None

    def _signature(self, data: bytes, found: dict[str, Any]) -> bool:
        for spec, prefix in self.signatures:
            if spec.length is not None and len(data) != spec.length:
                continue
            if (spec.shortest or 0) > len(data) or (spec.longest is not None and len(data) > spec.longest):
                continue
            if data.startswith(prefix):
                found["payload"] = {"length": len(data), "prefix": data[: max(4, len(prefix))].hex()}
                return True
        return False

    @property
    def needs_data(self) -> bool:
        """Say whether only a packet that carries data can match."""
        return bool(self.names or self.signatures)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule and its compiled match."""

    rule: Rule
    match: CompiledMatch


def compile_policy(policy: Policy) -> tuple[CompiledRule, ...]:
    """Compile every rule of a policy."""
    return tuple(CompiledRule(rule, _compile(rule.match, policy)) for rule in policy.rules)


def _compile(match: Match, policy: Policy) -> CompiledMatch:
    wanted: dict[str, NameSet | None] = {"dns": match.dns, "http_host": match.http_host, "sni": match.sni}
    names = {kind: policy.index(spec) for kind, spec in wanted.items() if spec is not None}
    networks = [ipaddress.ip_network(prefix, strict=False) for prefix in policy.prefixes(match)]
    return CompiledMatch(
        match, names,
        tuple((n.version, int(n.network_address), int(n.netmask)) for n in networks),
        tuple((spec, bytes.fromhex(spec.prefix)) for spec in match.payload),
        tuple(_compile(other, policy) for other in match.unless),
    )  # fmt: skip
