"""The allow-list: what is named passes, all else does not, whoever speaks first."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.one_rule import injected
from tests.dpi.playbook import (
    CLIENT,
    OUTSIDE,
    PEER_ISN,
    SERVER,
    Playbook,
    Send,
    ack,
    between,
    client_hello,
    data,
    datagram,
    datagram_back,
    dropped,
    from_server,
    hello_bytes,
    opened,
    playbook,
    query,
    request,
    rule,
    silence,
)
from tests.wire.quic_flows import from_aioquic

GOOD, OTHER, ADDRESS = "www.allowed.example", "any.example", "198.18.0.20"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("allow-list")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


def quic(name: str) -> bytes:
    return from_aioquic(name, versions=[1], alpn=["h3"])[0]


def test_named_names_pass_in_dns(book: Playbook) -> None:
    book >> query(GOOD) << silence() >> query(GOOD, "AAAA") << silence()
    book >> datagram_back(bytes(40), 53, 5353) << silence()


@pytest.mark.parametrize("qtype", ["A", "AAAA", "TXT", "HTTPS"])
def test_other_names_do_not_exist_in_dns(book: Playbook, qtype: str) -> None:
    book >> query(OTHER, qtype) << rule("dns")
    (packet,) = injected(book.last)
    assert (packet[DNS].rcode, packet[DNS].ancount, book.last.verdict) == (3, 0, Verdict.DROP)


def test_names_like_the_named_do_not_pass(book: Playbook) -> None:
    opened(book) >> client_hello("www.allowed.example.org") << dropped()


def test_what_is_no_question_does_not_pass_port_53(book: Playbook) -> None:
    book >> datagram(b"\x17" * 60, 53) << dropped() << rule("dns-unread")


@pytest.mark.parametrize(
    ("port", "step"), [(443, client_hello(GOOD)), (80, request(GOOD)), (8443, client_hello(GOOD, 8443))]
)
def test_named_names_pass_in_tls_and_http_and_so_does_the_rest_of_the_connection(
    book: Playbook, port: int, step: Send
) -> None:
    opened(book, port) << silence() >> step << silence()
    book >> from_server("PA", PEER_ISN + 1, 1, b"answer", port) << silence()
    book >> data(b"whatever", port, 400) << silence()


@pytest.mark.parametrize(
    "content", [hello_bytes(OTHER), b"GET / HTTP/1.1\r\nHost: any.example\r\n\r\n", b"\x9c\x01junk"]
)
def test_other_connections_are_cut_at_their_first_data(book: Playbook, content: bytes) -> None:
    opened(book) << silence() >> data(content) << dropped() << rule("tcp-first-packet")
    book >> data(b"more", offset=len(content)) << dropped() >> from_server("A", PEER_ISN + 1, 1) << dropped()


def test_a_server_that_speaks_first_is_cut(book: Playbook) -> None:
    opened(book, 22) >> from_server("PA", PEER_ISN + 1, 1, b"SSH-2.0-OpenSSH_9.2\r\n", 22) << dropped()
    book >> data(b"SSH-2.0-client\r\n", 22) << dropped()


def test_named_names_pass_in_quic(book: Playbook) -> None:
    book >> datagram(quic(GOOD)) << silence() >> datagram_back(bytes(1200)) << silence()
    book >> datagram(b"\x43" + bytes(50)) << silence()


@pytest.mark.parametrize("content", [quic(OTHER), b"\x01\0\0\0" + bytes(144), bytes(20)])
def test_other_datagrams_do_not_pass(book: Playbook, content: bytes) -> None:
    book >> datagram(content, 51820) << dropped() << rule("udp")
    book >> datagram(b"more", 51820) << dropped() >> datagram_back(b"back", 51820) << dropped()


def test_named_addresses_pass_with_whatever_they_carry(book: Playbook) -> None:
    opened(book, 22, server=ADDRESS) >> between(data(b"\x9c\x01junk", 22), server=ADDRESS) << silence()
    book >> between(datagram(b"\x9c\x01junk", 4500), server=ADDRESS) << silence()
    book >> between(query(OTHER), server=ADDRESS) << silence()
    book >> Send("ping", IP(src=CLIENT, dst=ADDRESS) / ICMP()) << silence()


def test_ping_and_other_protocols_do_not_pass(book: Playbook) -> None:
    book >> Send("ping", IP(src=CLIENT, dst=SERVER) / ICMP()) << dropped() << rule("the-rest")
    book >> Send("gre", IP(src=CLIENT, dst=SERVER, proto=47) / Raw(bytes(20))) << dropped()


def test_flows_from_outside_are_judged_alike(book: Playbook) -> None:
    first = IP(src=SERVER, dst=CLIENT) / UDP(sport=5000, dport=4000) / Raw(b"knock")
    book >> Send("knock", first, OUTSIDE) << dropped()
    segment = IP(src=SERVER, dst=CLIENT) / TCP(sport=5000, dport=80, flags="PA", seq=2, ack=6) / Raw(b"junk")
    book >> Send("data", segment, OUTSIDE) << dropped()


def test_a_hello_cut_in_two_is_cut_off(book: Playbook) -> None:
    """What is not named yet does not pass: the price of judging the first packet."""
    opened(book) >> data(hello_bytes(GOOD)[:30]) << dropped() >> ack() << dropped()
