"""IP, TCP and UDP headers against Scapy, field by field, and against bytes that are anything."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.packet import Packet, Raw

from testbed.wire import ip, tcp, udp

u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
v4 = u32.map(lambda number: str(ipaddress.IPv4Address(number)))
v6 = st.integers(0, (1 << 128) - 1).map(lambda number: str(ipaddress.IPv6Address(number)))
payloads = st.binary(max_size=64)
#: options of IPv4 that Scapy leaves as they are: the experimental ones of RFC 4727
v4_options = st.lists(st.tuples(st.sampled_from([25, 30, 94, 158, 222]), st.binary(max_size=6)), max_size=4)


def raw_option(kind: int, value: bytes) -> Packet:
    return IPOption(bytes((kind, len(value) + 2)) + value)


@given(v4, v4, u8, u8, u16, st.integers(0, 7), st.integers(0, 0x1FFF), v4_options, payloads, st.binary(max_size=9))
def test_ipv4_as_scapy_reads_it(
    src: str, dst: str, tos: int, ttl: int, ident: int, flags: int, frag: int,
    options: list[tuple[int, bytes]], payload: bytes, padding: bytes,
) -> None:  # fmt: skip
    layers = IP(
        src=src, dst=dst, tos=tos, ttl=ttl, id=ident, flags=flags, frag=frag, proto=253,
        options=[raw_option(*option) for option in options],
    ) / Raw(payload)  # fmt: skip
    seen = IP(bytes(layers))
    packet = ip.parse(bytes(layers) + padding)
    assert (packet.version, packet.header_len, packet.total_len) == (4, seen.ihl * 4, seen.len)
    assert (packet.tos, packet.ttl, packet.ident, packet.proto) == (seen.tos, seen.ttl, seen.id, seen.proto)
    assert (packet.df, packet.mf, packet.frag_offset) == (bool(flags & 2), bool(flags & 1), seen.frag * 8)
    assert packet.is_fragment == (bool(flags & 1) or frag > 0)
    assert (ip.address_text(packet.src), ip.address_text(packet.dst)) == (seen.src, seen.dst)
    assert packet.options() == options
    assert bytes(packet.payload) == payload and bytes(packet.raw) == bytes(layers)


EXTENSIONS = {
    "hop": IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 6)]),
    "dest": IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 20)]),
    "routing": IPv6ExtHdrRouting(addresses=["2001:db8::7", "2001:db8::8"]),
    "ah": AH(spi=7, seq=9, payloadlen=4, icv=b"\x55" * 12),
    "atomic": IPv6ExtHdrFragment(id=0xDEADBEEF, offset=0, m=0),
}

NUMBERS = {"hop": 0, "dest": 60, "routing": 43, "ah": 51, "atomic": 44}


@given(v6, v6, u8, u8, st.integers(0, 0xFFFFF), st.lists(st.sampled_from(sorted(EXTENSIONS)), max_size=5), payloads)
def test_ipv6_as_scapy_builds_it(
    src: str, dst: str, tos: int, ttl: int, label: int, names: list[str], payload: bytes
) -> None:
    layers = IPv6(src=src, dst=dst, tc=tos, hlim=ttl, fl=label)
    for name, following in zip(names, [*names[1:], ""], strict=False):
        header = EXTENSIONS[name].copy()
        header.nh = NUMBERS.get(following, ip.UDP)  # Scapy's AH does not set it
        layers = layers / header
    headers = len(bytes(layers))
    whole = bytes(layers / UDP(sport=1, dport=2) / Raw(payload))
    packet = ip.parse(whole + b"padding")
    assert (packet.version, packet.proto, packet.header_len, packet.total_len) == (6, ip.UDP, headers, len(whole))
    assert (packet.tos, packet.ttl, packet.flow_label) == (tos, ttl, label)
    assert (ip.address_text(packet.src), ip.address_text(packet.dst)) == (src, dst)
    assert [bytes(header) for _, header in packet.extensions()] == _cut(whole, names)
    assert not packet.is_fragment and packet.ident == (0xDEADBEEF if "atomic" in names else 0)
    assert udp.parse(packet.payload).payload == payload


def _cut(whole: bytes, names: list[str]) -> list[bytes]:
    found, offset = [], 40
    for name in names:
        found.append(whole[offset : offset + len(bytes(EXTENSIONS[name]))])
        offset += len(found[-1])
    return found


def test_behind_a_later_fragment_nothing_is_read() -> None:
    layers = IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrFragment(id=5, offset=100, m=1, nh=60) / Raw(b"\x99" * 8)
    packet = ip.parse(bytes(layers))
    assert (packet.proto, packet.frag_offset, packet.mf, packet.ident) == (60, 800, True, 5)
    assert packet.is_fragment and bytes(packet.payload) == b"\x99" * 8


flag_bits = st.integers(0, 255)


@given(u16, u16, u32, u32, flag_bits, u16, u16, payloads)
def test_tcp_as_scapy_reads_it(
    sport: int, dport: int, seq: int, ack: int, flags: int, window: int, urgent: int, payload: bytes
) -> None:
    fields: dict[str, Any] = {
        "sport": sport, "dport": dport, "seq": seq, "ack": ack, "flags": flags, "window": window, "urgptr": urgent,
        "options": [("MSS", 1460), ("NOP", None), ("WScale", 7)],
    }  # fmt: skip
    raw = bytes(IP(src="100.64.0.1", dst="198.18.0.1") / TCP(**fields) / Raw(payload))
    packet = ip.parse(raw)
    segment, seen = tcp.parse(packet.payload), IP(raw)[TCP]
    assert (segment.sport, segment.dport, segment.seq, segment.ack) == (seen.sport, seen.dport, seen.seq, seen.ack)
    assert (segment.flags, segment.window, segment.data_offset) == (flags, window, seen.dataofs * 4)
    assert segment.urgent_pointer == urgent and bytes(segment.payload) == payload
    assert tcp.flags_text(flags) == str(seen.flags)
    assert tcp.checksum_ok(packet)
    wrong = bytearray(raw)
    wrong[36] ^= 0x40
    assert not tcp.checksum_ok(ip.parse(bytes(wrong)))


@given(st.permutations(["MSS", "WScale", "SAckOK", "SAck", "Timestamp", "AltChkSum", "UTO"]), st.integers(0, 5))
def test_tcp_options_as_scapy_writes_them(order: list[str], count: int) -> None:
    values: dict[str, Any] = {
        "MSS": 1400, "WScale": 9, "SAckOK": b"", "SAck": (1, 2), "Timestamp": (77, 88),
        "AltChkSum": (1, 2), "UTO": 4,
    }  # fmt: skip
    chosen = order[:count]
    raw = bytes(TCP(options=[(name, values[name]) for name in chosen]))
    found = tcp.parse_options(tcp.parse(memoryview(raw)).options)
    numbers = {"MSS": 2, "WScale": 3, "SAckOK": 4, "SAck": 5, "Timestamp": 8, "AltChkSum": 14, "UTO": 28}
    assert found.kinds == tuple(numbers[name] for name in chosen)
    assert found.mss == (1400 if "MSS" in chosen else None)
    assert found.window_scale == (9 if "WScale" in chosen else None)
    assert found.sack_permitted == ("SAckOK" in chosen)
    assert found.sack == (((1, 2),) if "SAck" in chosen else ())
    assert found.timestamps == ((77, 88) if "Timestamp" in chosen else None)


def test_tcp_md5_and_nonsense_options() -> None:
    assert tcp.parse_options(bytes((19, 18)) + b"m" * 16).md5 == b"m" * 16
    assert tcp.parse_options(bytes((2, 3, 5, 1, 99, 2))) == tcp.Options(kinds=(2, 99))
    assert tcp.parse_options(bytes((5, 18)) + bytes(range(16))).sack == ((0x10203, 0x4050607), (0x8090A0B, 0xC0D0E0F))
    assert tcp.parse_options(bytes((2, 40, 1))).kinds == ()
    assert tcp.parse_options(bytes((2, 0, 0, 0))).kinds == ()


@given(u16, u16, payloads, st.booleans())
def test_udp_as_scapy_reads_it(sport: int, dport: int, payload: bytes, six: bool) -> None:
    below = IPv6(src="2001:db8::1", dst="2001:db8::2") if six else IP(src="100.64.0.1", dst="198.18.0.1")
    raw = bytes(below / UDP(sport=sport, dport=dport) / Raw(payload))
    packet = ip.parse(raw)
    datagram = udp.parse(packet.payload)
    assert (datagram.sport, datagram.dport, datagram.length) == (sport, dport, 8 + len(payload))
    assert bytes(datagram.payload) == payload
    assert udp.checksum_ok(packet)
    none = bytearray(raw)
    none[packet.header_len + 6 : packet.header_len + 8] = b"\0\0"
    assert udp.checksum_ok(ip.parse(bytes(none))) is not six


@given(st.binary(max_size=70))
def test_checksum_is_scapys(data: bytes) -> None:
    from scapy.utils import checksum

    assert ip.checksum(data) == checksum(data)


def test_a_cut_packet_is_read_as_far_as_it_goes() -> None:
    raw = bytes(IP() / UDP(sport=5, dport=6) / Raw(b"x" * 100))[:40]
    with pytest.raises(ValueError, match="cut short"):
        ip.parse(raw)
    packet = ip.parse(raw, cut=True)
    assert (packet.is_cut, packet.total_len, len(packet.payload)) == (True, 128, 20)
    with pytest.raises(ValueError, match="not its own"):
        udp.parse(packet.payload)
    datagram = udp.parse(packet.payload, cut=True)
    assert (datagram.length, bytes(datagram.payload)) == (108, b"x" * 12)
    assert not ip.parse(bytes(IP() / ICMP()), cut=True).is_cut


def test_a_jumbogram_is_broken() -> None:
    raw = bytes.fromhex("600000000000ff40") + bytes(32) + bytes.fromhex("3b00c20400010000") + bytes(64)
    assert ip.parse(raw).total_len == 40
    with pytest.raises(ValueError, match="cut short"):
        ip.parse(raw[:6] + b"\0" + raw[7:])


starts = st.sampled_from([b"", b"\x45", b"\x46\0\0\x30", b"\x60\0\0\0\0\x20\0", b"\x60\0\0\0\0\x20\x2c", b"\x4f"])


@given(starts, st.binary(max_size=90), st.booleans())
def test_only_value_error_escapes(start: bytes, rest: bytes, cut: bool) -> None:
    try:
        packet = ip.parse(start + rest, cut=cut)
        assert packet.header_len + len(packet.payload) == len(packet.raw) <= packet.total_len
        packet.options(), packet.extensions(), packet.flow_label
        udp.parse(packet.payload, cut=cut)
        tcp.parse_options(tcp.parse(packet.payload).options)
    except ValueError:
        pass
