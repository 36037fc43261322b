"""The pipe's reading of frames, against packets that Scapy made."""

from __future__ import annotations

import socket
import struct
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from testbed.middlebox import pipe

FOUR, SIX = IP(src="100.64.1.1", dst="198.18.0.80"), IPv6(src="2001:db8:64::1", dst="2001:db8:18::80")


def frame(packet: Packet) -> bytes:
    return bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet)


@pytest.mark.parametrize("network", [FOUR, SIX], ids=["four", "six"])
def test_a_flow_is_told_by_addresses_protocol_and_ports(network: Packet) -> None:
    def flow(transport: Packet) -> bytes:
        return pipe.flow_of(frame(network / transport))

    assert flow(TCP(sport=1, dport=2, seq=5)) == flow(TCP(sport=1, dport=2, seq=9) / Raw(b"x"))
    others = [TCP(sport=1, dport=3), TCP(sport=3, dport=2), UDP(sport=1, dport=2)]
    assert len({flow(TCP(sport=1, dport=2)), *(flow(other) for other in others)}) == 4


def test_options_do_not_hide_the_ports_and_fragments_of_two_hosts_are_one_flow() -> None:
    plain = frame(FOUR / UDP(sport=1, dport=2))
    optioned = frame(IP(src="100.64.1.1", dst="198.18.0.80", options=b"\x01\x01\x01\x00") / UDP(sport=1, dport=2))
    assert pipe.flow_of(plain) == pipe.flow_of(optioned)
    parts = [pipe.flow_of(frame(part)) for part in fragment(FOUR / UDP(sport=1, dport=2) / Raw(bytes(3000)), 1000)]
    assert len(parts) > 2
    assert len(set(parts)) == 1
    assert pipe.flow_of(frame(FOUR / ICMP())) != pipe.flow_of(plain)


@pytest.mark.parametrize(
    ("packet", "is_free"),
    [
        (ARP(), True),
        (IPv6(src="fe80::1", dst="ff02::1:ff00:80") / ICMPv6ND_NS(), True),
        (SIX / ICMPv6ND_NA(), True),
        (SIX / ICMPv6EchoRequest(), False),
        (FOUR / ICMP(), False),
        (SIX / TCP(), False),
    ],
)
def test_only_neighbour_talk_is_free(packet: Packet, is_free: bool) -> None:
    assert pipe._is_neighbour_talk(frame(packet)) is is_free


def test_padding_costs_nothing() -> None:
    short = frame(FOUR / UDP() / Raw(b"x"))
    assert pipe._ip_length(short + bytes(60 - len(short)), 46) == 29
    six = frame(SIX / UDP() / Raw(b"x"))
    assert pipe._ip_length(six + bytes(4), len(six) + 4 - 14) == 49


def test_the_lag_is_the_time_since_the_kernel_took_the_packet() -> None:
    stamp = time.time_ns() - 30_000_000
    value = struct.pack("@ll", stamp // 10**9, stamp % 10**9)
    assert 0.030 <= pipe._lag_s([(socket.SOL_SOCKET, 35, value)]) < 1.0
    future = struct.pack("@ll", stamp // 10**9 + 100, 0)
    assert pipe._lag_s([(socket.SOL_SOCKET, 35, future)]) == 0.0  # the clock was set back meanwhile
    assert pipe._lag_s([]) == 0.0
