"""ICMP of both versions against Scapy."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.packet import Packet, Raw

from testbed.wire import icmp, ip, tcp, udp

CLIENT, SERVER, ROUTER = "100.64.1.1", "198.18.0.1", "100.64.0.1"
V6, V6_ROUTER = "2001:db8:64::1", "2001:db8::ffff"
QUOTED = IP(src=CLIENT, dst=SERVER, id=77) / UDP(sport=5000, dport=53) / Raw(b"q" * 60)


def parse(layers: Packet) -> icmp.Message:
    packet = ip.parse(bytes(layers))
    assert icmp.checksum_ok(packet)
    return icmp.parse(packet)


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=30))
def test_echo(ident: int, sequence: int, data: bytes) -> None:
    for layers, asks in (
        (IP(src=CLIENT, dst=SERVER) / ICMP(type=8, id=ident, seq=sequence) / Raw(data), True),
        (IP(src=SERVER, dst=CLIENT) / ICMP(type=0, id=ident, seq=sequence) / Raw(data), False),
        (IPv6(src=V6, dst=V6_ROUTER) / ICMPv6EchoRequest(id=ident, seq=sequence, data=data), True),
        (IPv6(src=V6_ROUTER, dst=V6) / ICMPv6EchoReply(id=ident, seq=sequence, data=data), False),
    ):
        found = parse(layers)
        assert (found.ident, found.sequence, bytes(found.body)) == (ident, sequence, data)
        assert (found.is_echo, found.is_echo_reply, found.is_error) == (asks, not asks, False)
        assert found.quoted is None


@pytest.mark.parametrize(
    ("code", "prohibited"), [(0, False), (1, False), (3, False), (9, True), (10, True), (13, True)]
)
@pytest.mark.parametrize("kept", [28, 40, 88])
def test_an_error_quotes_the_packet_it_tells_of(code: int, prohibited: bool, kept: int) -> None:
    quoted = Raw(bytes(QUOTED)[:kept])
    found = parse(IP(src=ROUTER, dst=CLIENT) / ICMP(type=3, code=code) / quoted)
    assert found.is_error and found.is_prohibited == prohibited
    inner = found.quoted
    assert inner is not None and inner.is_cut == (kept < 88) and inner.ident == 77
    datagram = udp.parse(inner.payload, cut=True)
    assert (ip.address_text(inner.dst), datagram.sport, datagram.dport) == (SERVER, 5000, 53)
    assert len(datagram.payload) == kept - 28


def test_errors_of_version_6() -> None:
    quoted = IPv6(src=V6, dst="2001:db8::1") / TCP(sport=4000, dport=443, flags="S")
    outer = IPv6(src=V6_ROUTER, dst=V6)
    found = parse(outer / ICMPv6DestUnreach(code=1) / quoted)
    assert found.is_prohibited and found.quoted is not None
    assert tcp.parse(found.quoted.payload).dport == 443
    big = parse(outer / ICMPv6PacketTooBig(mtu=1280) / quoted)
    assert (big.is_error, big.mtu, big.is_prohibited) == (True, 1280, False)
    assert parse(outer / ICMPv6TimeExceeded() / quoted).quoted is not None
    assert parse(IP(src=ROUTER, dst=CLIENT) / ICMP(type=3, code=4, nexthopmtu=1400) / QUOTED).mtu == 1400


def test_extensions_behind_the_quoted_packet() -> None:
    """RFC 4884: the quotation is padded to 128 bytes, its length in words tells where the extension begins."""
    quoted = bytes(QUOTED).ljust(128, b"\0")
    extension = b"\x20\0\0\0" + b"\0\x08\1\1\0\0\x10\1"
    found = parse(IP(src=ROUTER, dst=CLIENT) / ICMP(type=11, code=0, length=32) / Raw(quoted + extension))
    assert bytes(found.extensions) == extension
    assert found.quoted is not None and bytes(found.quoted.raw) == bytes(QUOTED)


def test_what_is_not_icmp() -> None:
    with pytest.raises(ValueError, match="protocol 17"):
        icmp.parse(ip.parse(bytes(QUOTED)))
    with pytest.raises(ValueError, match="cut short"):
        icmp.parse(ip.parse(bytes(IP(proto=1) / Raw(b"1234567"))))
    assert parse(IP() / ICMP(type=3) / Raw(b"nonsense")).quoted is None
    assert not icmp.checksum_ok(ip.parse(bytes(IP() / ICMP(chksum=1))))


@given(st.sampled_from([1, 58]), st.binary(max_size=160))
def test_only_value_error_escapes(proto: int, body: bytes) -> None:
    below = IP(proto=1) if proto == 1 else IPv6(nh=58)
    with contextlib.suppress(ValueError):
        found = icmp.parse(ip.parse(bytes(below / Raw(body))))
        _ = found.quoted, found.extensions, found.mtu, found.is_prohibited
