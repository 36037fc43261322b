"""Turkmenistan in 2021: what differs from the DPI that was measured a year later (facts §1, §2)."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRROPT
from scapy.layers.inet import IP, UDP

from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.playbook import (
    INSIDE,
    ISN,
    Playbook,
    ack,
    answer,
    between,
    client_hello,
    data,
    datagram,
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
    syn_ack,
)

BAD = "twitter.com"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tm-2021")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


@pytest.mark.parametrize(("port", "seen"), [(443, True), (8443, False), (80, False)])
def test_tls_is_read_on_port_443_only(book: Playbook, port: int, seen: bool) -> None:
    opened(book, port) >> client_hello(BAD, port) << (reset(INSIDE) if seen else silence())


@pytest.mark.parametrize(("port", "seen"), [(80, True), (8080, False), (443, False)])
def test_http_is_read_on_port_80_only(book: Playbook, port: int, seen: bool) -> None:
    opened(book, port) >> request(BAD, port) << (reset(INSIDE) if seen else silence())


@pytest.mark.parametrize(("port", "content"), [(80, request_bytes(BAD)), (443, hello_bytes(BAD))])
def test_a_reset_with_a_wrong_checksum_blinds_it_for_both(book: Playbook, port: int, content: bytes) -> None:
    book >> syn(port) >> segment("R", ISN, dport=port, chksum=0x1234) >> syn_ack(port) >> ack(port)
    book >> data(content, port) << silence()


def test_without_edns_the_answer_is_well_formed(book: Playbook) -> None:
    book >> query(BAD) << answer()
    message = IP(book.last.injections[0].raw)[DNS]
    assert (message.qdcount, message.ancount, message.arcount) == (1, 1, 0)


def test_with_edns_the_record_stands_behind_the_copied_query(book: Playbook) -> None:
    asked = query(BAD, edns=True)
    book >> asked << rule("dns")
    forged = bytes(IP(book.last.injections[0].raw)[UDP].payload)
    wire = bytes(asked.packet[UDP].payload)
    assert forged[12:].startswith(wire[12:]), "the question and the OPT record are the query's own"
    assert forged[4:12] == bytes.fromhex("0001000100000000"), "the header says one answer and no additional record"
    assert forged[len(wire) :] == bytes.fromhex("c00c000100010000012c00047f000001")
    read = DNS(forged)
    assert read.an[0].type == 41, "so a parser takes the OPT record for the answer"


def test_stun_is_open(book: Playbook) -> None:
    book >> datagram(bytes(20), 3478) << silence()


def test_the_front_of_snowflakes_broker_is_blocked_by_name(book: Playbook) -> None:
    book >> query("cdn.sstatic.net") << answer()
    opened(book) >> client_hello("cdn.sstatic.net") << reset(INSIDE)


def test_tor_relays_are_blocked_by_address(book: Playbook) -> None:
    opened(book, 9001, server="198.18.0.201") << reset(INSIDE) << rule("tor-relays")
    opened(book, 9001, server="198.18.0.199") << silence()


def test_public_resolvers_are_blocked_by_address(book: Playbook) -> None:
    book >> between(query("innocent.example"), server="198.18.0.209") << rule("resolvers")


def test_a_question_over_the_parsers_limit_is_ignored(book: Playbook) -> None:
    message = DNS(id=7, rd=1, qd=DNSQR(qname=BAD), ar=DNSRROPT())
    message.arcount = 26
    book >> datagram(bytes(message), 53) << silence()
