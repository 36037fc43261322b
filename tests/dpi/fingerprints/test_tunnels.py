"""Tunnels in DNS and ICMP, and what looks a little like them."""

from __future__ import annotations

import hashlib
import random
import struct

import dnslib
import pytest

from testbed.dpi.fingerprints import PROTOCOLS, UNDECIDED, Opening
from testbed.dpi.fingerprints.opening import ICMP
from tests.dpi.fingerprints.flows import conversation, tcp_flow, udp_flow

NOISE = random.Random(6).randbytes(3000)


def question(name: str, kind: str = "A") -> bytes:
    return bytes(dnslib.DNSRecord.question(name, kind).pack())


def hexed(number: int, size: int) -> str:
    return hashlib.sha512(bytes([number])).hexdigest()[:size]


def test_dns_on_any_port_and_over_tcp() -> None:
    asked = question("www.example.org", "AAAA")
    evidence = {"name": "www.example.org", "type": 28, "answer": False}
    assert PROTOCOLS["dns"](udp_flow((">", asked), port=5300)) == evidence
    framed = struct.pack("!H", len(asked)) + asked
    assert PROTOCOLS["dns"](tcp_flow((">", framed))) == evidence
    assert PROTOCOLS["dns"](tcp_flow((">", framed[:2]))) is UNDECIDED


def test_an_answer_without_a_question_as_in_multicast_dns() -> None:
    record = dnslib.RR("printer.local", rtype=1, rclass=0x8001, rdata=dnslib.A("198.18.0.9"))
    answer = bytes(dnslib.DNSRecord(dnslib.DNSHeader(qr=1, aa=1), a=record).pack())
    assert PROTOCOLS["dns"](udp_flow((">", answer), port=5353)) == {"name": "printer.local", "type": 1, "answer": True}


NETBIOS = bytes.fromhex("9c1101100001000000000000") + b"\x20" + b"FHEPFCELEHFCEPFFFACACACACACACABL" + b"\0\0\x20\0\1"


@pytest.mark.parametrize(
    "spoilt",
    [question("a.example") + b"\0", b"\0" * 40, NOISE[:40], question("a.example")[:-1], NETBIOS],
    ids=["a byte too many", "zeros", "noise", "a byte too few", "NetBIOS"],
)
def test_what_is_not_dns(spoilt: bytes) -> None:
    assert PROTOCOLS["dns"](udp_flow((">", spoilt), port=53)) is None


@pytest.mark.parametrize(
    "names",
    [
        [f"{hexed(n, 40)}.t.example.com" for n in range(3)],
        [f"{hexed(n, 60)}.{hexed(n + 9, 60)}.t.example.com" for n in range(1)],  # one name, stuffed full
        ["AAAAAEMyAA.=auth.d.example.org"],
        ["dnscat.0eb1010c1f9c.example.org"],
    ],
)
def test_dns_tunnels(names: list[str]) -> None:
    assert PROTOCOLS["dns-tunnel"](udp_flow(*((">", question(name, "TXT")) for name in names)))


@pytest.mark.parametrize(
    "names",
    [
        ["www.wikipedia.org", "upload.wikimedia.org", "login.wikimedia.org", "meta.wikimedia.org"],
        ["a-very-long-but-quite-readable-host-name.region-one.cloud.example.com"] * 4,
        [f"{n}.0.64.100.in-addr.arpa" for n in range(9)],
        [f"{hexed(n, 32)}.example.com" for n in range(2)],
    ],
)
def test_ordinary_names_are_no_tunnel(names: list[str]) -> None:
    assert PROTOCOLS["dns-tunnel"](udp_flow(*((">", question(name)) for name in names))) in (None, UNDECIDED)


def echo(kind: int, number: int, data: bytes) -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, 77, number) + data


def ping_flow(*pairs: tuple[bytes, bytes | None]) -> Opening:
    lines: list[tuple[str, bytes]] = []
    for number, (asked, answered) in enumerate(pairs):
        lines.append((">", echo(8, number, asked)))
        if answered is not None:
            lines.append(("<", echo(0, number, answered)))
    return conversation(ICMP, *lines)


IPV4 = bytes.fromhex("4500003c000040004006") + NOISE[:50]


@pytest.mark.parametrize(
    "flow",
    [
        ping_flow((bytes.fromhex("d5200880") + NOISE[:24], None)),
        ping_flow((bytes.fromhex("deadc0de") + NOISE[:24], None)),
        ping_flow((IPV4, None)),
        ping_flow((NOISE[:64], NOISE[100:400])),  # an answer that doesn't repeat the request
        ping_flow(*((NOISE[n : n + 200 * n], None) for n in range(1, 5))),
    ],
)
def test_icmp_tunnels(flow: Opening) -> None:
    assert isinstance(PROTOCOLS["icmp-tunnel"](flow), dict)


WINDOWS = b"abcdefghijklmnopqrstuvwabcdefghi"
IPUTILS = NOISE[:16] + bytes(range(0x10, 0x38))


@pytest.mark.parametrize(
    "flow",
    [
        ping_flow(*((data, data) for data in (WINDOWS,) * 5)),
        ping_flow(*((NOISE[n : n + 16] + IPUTILS[16:],) * 2 for n in range(5))),
        ping_flow(*((bytes(size),) * 2 for size in (0, 56, 120, 1000, 1400))),
        ping_flow(*((NOISE[:16] + bytes(range(0x10, 0x10 + size)),) * 2 for size in (40, 90, 140, 190))),
        ping_flow((NOISE[:56], NOISE[:40])),  # cut short by the capture
    ],
)
def test_ordinary_pings_are_no_tunnel(flow: Opening) -> None:
    assert PROTOCOLS["icmp-tunnel"](flow) is UNDECIDED
