"""Iran: the protocol filter of 2020 to the letter, names, and the three ports of 2025 (facts/censors.md)."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP

from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.one_rule import injected
from tests.dpi.playbook import (
    CLIENT,
    INSIDE,
    ISN,
    PEER_ISN,
    SERVER,
    SPORT,
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
    request_bytes,
    reset,
    rule,
    segment,
    silence,
    syn,
    wait,
)
from tests.wire.hellos import from_openssl

BAD, GOOD = "www.bbc.com", "any.example"
JUNK = b"\x9c\x03junk that is no protocol"
OVER_TCP = bytes(DNS(id=7, rd=1, qd=DNSQR(qname=GOOD)))
DNS_TCP = len(OVER_TCP).to_bytes(2, "big") + OVER_TCP


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("iran-2020")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


@pytest.mark.parametrize("port", [53, 80, 443])
def test_what_is_no_protocol_is_cut_after_its_first_packet(book: Playbook, port: int) -> None:
    opened(book, port) >> data(JUNK, port) << silence()
    book >> data(JUNK, port, 30) << dropped() << rule("protocol-filter")
    book >> ack(port) << dropped()
    book >> from_server("A", PEER_ISN + 1, ISN + 1, dport=port) << silence()


@pytest.mark.parametrize("port", [22, 8080, 8443])
def test_other_ports_are_not_filtered(book: Playbook, port: int) -> None:
    opened(book, port) >> data(JUNK, port) << silence() >> data(JUNK, port, 30) << silence()


@pytest.mark.parametrize("port", [53, 80, 443])
@pytest.mark.parametrize("content", [
    hello_bytes(GOOD), from_openssl(GOOD), request_bytes(GOOD), DNS_TCP, b"PUT / HT", b"CONNECT a:1",
], ids=["TLS", "OpenSSL", "HTTP", "DNS", "8 bytes", "CONNECT"])  # fmt: skip
def test_each_protocol_passes_on_each_port(book: Playbook, port: int, content: bytes) -> None:
    opened(book, port) >> data(content, port) << silence()
    book >> data(JUNK, port, len(content)) << silence() >> data(JUNK, port, len(content) + 30) << silence()


@pytest.mark.parametrize("content", [
    b"\x16\x03\x04" + bytes(40), b"GETS / HTTP/1.1\r\n\r\n", b"TRACE / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
], ids=["TLS version", "verb", "other verb", "SSH"])  # fmt: skip
def test_what_only_looks_alike_does_not(book: Playbook, content: bytes) -> None:
    opened(book) >> data(content) << silence() >> data(JUNK, offset=len(content)) << dropped()


def test_http_shorter_than_eight_bytes_does_not(book: Playbook) -> None:
    opened(book, 80) >> data(b"GET /", 80) << silence() >> data(b"a", 80, 5) << dropped()


def test_the_first_two_packets_are_looked_at_together(book: Playbook) -> None:
    opened(book, 80) >> data(b"GE", 80) << silence() >> data(b"T / HTTP/1.1\r\n", 80, 2) << silence()


def test_they_are_not_put_in_order(book: Playbook) -> None:
    opened(book, 80) >> data(b"T / HTTP/1.1\r\n", 80, 2) << silence() >> data(b"GE", 80) << dropped()


def test_the_checksum_is_not_verified(book: Playbook) -> None:
    opened(book, 80) >> segment("PA", ISN + 1, PEER_ISN + 1, b"GET / HTTP/1.1\r\n", 80, chksum=0x1234) << silence()
    book >> data(JUNK, 80, 16) << silence()


def test_flows_from_outside_are_not_filtered(book: Playbook) -> None:
    for step in (syn(80), ack(80), data(JUNK, 80), data(JUNK, 80, 30)):
        book >> between(step, client=SERVER, server=CLIENT, from_outside=True) << silence()


def test_the_drop_lasts_60_s_and_each_packet_renews_it(book: Playbook) -> None:
    opened(book) >> data(JUNK) >> data(JUNK, offset=30) << dropped()
    book >> wait(59) >> ack() << dropped()
    book >> wait(59) >> ack() << dropped()
    book >> wait(61) >> ack() << silence()


def test_another_connection_is_judged_for_itself(book: Playbook) -> None:
    opened(book) >> data(JUNK) >> data(JUNK, offset=30) << dropped()
    opened(book, sport=SPORT + 1) >> between(data(hello_bytes(GOOD)), sport=SPORT + 1) << silence()


def test_dns_points_to_the_block_pages_of_the_state(book: Playbook) -> None:
    seen = set()
    for number in range(40):
        book >> query(BAD, id=number)
        (packet,) = injected(book.last)
        seen.add(packet[DNS].an[0].rdata)
    assert seen == {"10.10.34.34", "10.10.34.35", "10.10.34.36"}


def test_http_gets_a_403_page_and_then_nothing_for_180_s(book: Playbook) -> None:
    opened(book, 80) >> request(BAD) << rule("http-host")
    (packet,) = injected(book.last)
    assert bytes(packet[TCP].payload).startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"10.10.34.34" in bytes(packet[TCP].payload)
    book >> wait(178) >> ack(80) << dropped() >> from_server("A", 1, 1, dport=80) << dropped()
    book >> between(ack(80), sport=SPORT + 1) << silence()
    book >> wait(3) >> ack(80) << silence()


def test_tls_gets_one_rst_ack_and_then_nothing(book: Playbook) -> None:
    opened(book) >> client_hello(BAD) << reset(INSIDE) << rule("tls-sni")
    assert str(injected(book.last)[0][TCP].flags) == "RA"
    book >> ack() << dropped()


def test_in_2025_three_ports_are_left() -> None:
    book = playbook(Engine(load_policy("iran-2025"), seed=1))
    for port in (80, 443):
        opened(book, port) << silence() >> data(JUNK, port) << silence()
    book >> query(GOOD) << silence() >> datagram_back(b"answer", 53, 5353) << silence()
    for port in (22, 53, 853, 8443):
        book >> syn(port) << dropped()
    for port in (443, 80, 51820, 4500):
        book >> datagram(b"x" * 30, port) << dropped()
    book >> Send("ping", IP(src=CLIENT, dst=SERVER) / ICMP()) << dropped()


def test_in_2025_what_is_dropped_is_dropped_without_a_word_and_for_the_outside_too() -> None:
    book = playbook(Engine(load_policy("iran-2025"), seed=1))
    book >> between(syn(22), client=SERVER, server=CLIENT, from_outside=True) << dropped() << rule("other-ports")
    book >> between(datagram(b"x"), client=SERVER, server=CLIENT, from_outside=True) << dropped()
