"""China's national firewall: one test a claim of facts/censors.md, what evades it too."""

from __future__ import annotations

import random
from ipaddress import IPv6Address, IPv6Network

import pytest
from scapy.layers.dns import DNS
from scapy.layers.inet import IP, TCP

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.one_rule import injected, sides
from tests.dpi.playbook import (
    CLIENT,
    INSIDE,
    ISN,
    OUTSIDE,
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
    rule,
    silence,
    syn,
    syn_ack,
    wait,
    with_servers,
)
from tests.wire.hellos import message, names, record, records
from tests.wire.quic_flows import crypto, cut, from_aioquic, initial

BAD, GOOD = "www.youtube.com", "any.example"
POOL = "198.18.66."
ENCRYPTED = bytes(random.Random(7).randbytes(300))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("china")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


def lasting(policy: Policy) -> Playbook:
    """A conversation in which the connection from `SPORT` leaves a residual block."""
    for seed in range(50):
        book = playbook(Engine(policy, seed=seed))
        opened(book, 80) >> request(BAD)
        if (book >> between(syn(80), sport=SPORT + 1)).last.injections:
            return book
    raise AssertionError("no connection left a block")


def test_dns_draws_three_answers_of_a_pool(book: Playbook) -> None:
    seen = set()
    for number in range(60):
        book >> query(BAD, id=number) << rule("dns")
        answers = [packet[DNS].an[0].rdata for packet in injected(book.last)]
        assert len(answers) == 3
        assert all(answer.startswith(POOL) for answer in answers)
        seen.update(answers)
    assert len(seen) == 7


def test_dns_answers_aaaa_from_teredos_prefix(book: Playbook) -> None:
    book >> query(BAD, "AAAA")
    for packet in injected(book.last):
        assert packet[DNS].an[0].type == 28
        assert IPv6Address(packet[DNS].an[0].rdata) in IPv6Network("2001::/32")


def test_the_true_answer_still_arrives(book: Playbook) -> None:
    book >> query(BAD)
    assert book.last.verdict is Verdict.PASS
    book >> between(query(BAD), from_outside=True)
    assert set(sides(book.last)) == {OUTSIDE}, "and questions from outside are answered too"


def test_other_names_pass(book: Playbook) -> None:
    book >> query(GOOD) << silence()
    opened(book) >> client_hello(GOOD) << silence()


@pytest.mark.parametrize("port", [80, 8080, 22])
def test_a_host_draws_three_resets_to_each_end_on_any_port(book: Playbook, port: int) -> None:
    opened(book, port) >> request(BAD, port) << rule("http-host")
    assert book.last.verdict is Verdict.PASS
    assert sides(book.last).count(INSIDE) == sides(book.last).count(OUTSIDE) == 3


@pytest.mark.parametrize("toward", [INSIDE, OUTSIDE])
def test_the_triple_has_one_sequence_number_and_rises_in_ttl_and_window(book: Playbook, toward: object) -> None:
    opened(book, 80) >> request(BAD)
    packets = [p for p, side in zip(injected(book.last), sides(book.last), strict=True) if side is toward]
    assert {str(packet[TCP].flags) for packet in packets} == {"RA"}
    assert {packet[TCP].seq for packet in packets} == {
        PEER_ISN + 1 if toward is INSIDE else ISN + 1 + len(request_bytes(BAD))
    }
    for field in ("ttl", "window"):
        values = [getattr(packet[TCP if field == "window" else IP], field) for packet in packets]
        assert values == [values[0], values[0] + 1, values[0] + 2]


def test_http_leaves_a_block_of_90_s_on_the_3_tuple(policy: Policy) -> None:
    book = lasting(policy)
    book >> wait(88) >> between(syn(80), sport=SPORT + 2) << rule("http-host")
    assert book.last.injections
    book >> wait(3) >> between(syn(80), sport=SPORT + 3) << silence()


@pytest.mark.parametrize(
    "step", [syn(443), between(syn(80), server="198.19.3.5"), between(syn(80), client="100.64.1.2")]
)
def test_the_block_leaves_other_3_tuples_alone(policy: Policy, step: Send) -> None:
    lasting(policy) >> step << silence()


def test_the_block_stays_after_half_to_three_quarters_of_connections(policy: Policy) -> None:
    engine, left = Engine(policy, seed=3), 0
    steps = [syn(80), syn_ack(80), ack(80), request(BAD), between(syn(80), sport=SPORT + 1)]
    for packets in with_servers(steps, 1000):
        left += bool([engine.receive(raw, side, 1.0) for raw, side in packets][-1].injections)
    assert 500 <= left <= 750


def test_a_name_in_tls_draws_the_triple(book: Playbook) -> None:
    opened(book) >> client_hello(BAD) << rule("tls-sni")
    assert len(book.last.injections) == 6


def test_a_name_in_tls_from_outside_does_too(book: Playbook) -> None:
    ends = {"client": SERVER, "server": CLIENT, "from_outside": True}
    opened(book, **ends) >> between(client_hello(BAD), **ends) << rule("tls-sni")  # type: ignore[arg-type]


def test_tcp_segments_do_not_evade(book: Playbook) -> None:
    hello = hello_bytes(BAD)
    opened(book) >> data(hello[:4]) << silence() >> data(hello[4:30], offset=4) << silence()
    book >> data(hello[30:], offset=30) << rule("tls-sni")


def test_segments_out_of_order_do_not_evade(book: Playbook) -> None:
    hello = hello_bytes(BAD)
    opened(book) >> data(hello[20:], offset=20) << silence() >> data(hello[:20]) << rule("tls-sni")


def test_tls_records_evade(book: Playbook) -> None:
    opened(book) >> data(records(hello_bytes(BAD)[5:], [20])) << silence()


def esni_hello() -> bytes:
    return record(message([(0, names((0, b"cover.example"))), (0xFFCE, bytes(100))]))


def test_esni_is_dropped_without_a_reset(book: Playbook) -> None:
    opened(book) >> data(esni_hello()) << dropped() << rule("esni")
    book >> data(b"again") << dropped()
    book >> from_server("A", PEER_ISN + 1, ISN + 1) << silence()


def test_esnis_successor_is_not(book: Playbook) -> None:
    hello = record(message([(0, names((0, b"cover.example"))), (0xFE0D, bytes(100))]))
    opened(book) >> data(hello) << silence()


def test_esni_leaves_a_block_of_120_to_180_s_on_the_3_tuple(policy: Policy) -> None:
    lasted = []
    for number in range(40):
        book = playbook(Engine(policy, seed=number))
        opened(book) >> data(esni_hello())
        seconds = 0
        while (book >> wait(5) >> between(syn(), sport=SPORT + 1)).last.verdict is Verdict.DROP:
            seconds += 5
        lasted.append(seconds)
    assert 115 <= min(lasted) < 140
    assert 160 < max(lasted) <= 180


def test_the_block_of_esni_is_for_the_client_alone(book: Playbook) -> None:
    opened(book) >> data(esni_hello())
    book >> between(from_server("SA", 1, 2), sport=SPORT + 1) << silence()
    book >> syn(8443) << silence()


def quic(name: str | None = BAD, version: int = 1) -> bytes:
    return from_aioquic(name, versions=[version], alpn=["h3"])[0]


def hello_for(name: str) -> bytes:
    return hello_bytes(name)[5:]


def test_quic_drops_the_3_tuple_for_180_s(book: Playbook) -> None:
    book >> datagram(quic()) << dropped() << rule("quic-sni")
    book >> wait(179) >> datagram(b"anything", sport=SPORT + 1) << dropped()
    book >> datagram(b"other port", 8443) << silence()
    book >> datagram_back(b"from the server") << silence()
    book >> wait(2) >> datagram(b"anything", sport=SPORT + 1) << silence()


def test_quic_is_read_only_from_a_higher_port_to_a_lower(book: Playbook) -> None:
    book >> datagram(quic(), 443, 400) << silence()
    book >> datagram(quic(), 50000, 50001) << dropped()


def test_other_quic_versions_pass(book: Playbook) -> None:
    book >> datagram(quic(version=0x6B3343CF)) << silence()


def test_other_names_in_quic_pass(book: Playbook) -> None:
    book >> datagram(quic(GOOD)) << silence()
    book >> datagram(quic(None), sport=SPORT + 1) << silence()


def test_crypto_frames_in_one_packet_are_read_in_any_order(book: Playbook) -> None:
    first, second = cut(hello_for(BAD), [40])
    book >> datagram(initial(second + first, least=1100)) << dropped()


def test_crypto_frames_over_two_packets_are_not_joined(book: Playbook) -> None:
    first, second = cut(hello_for(BAD), [40])
    book >> datagram(initial(first, least=1100)) << silence()
    book >> datagram(initial(second, packet_number=1, least=1100)) << silence()


@pytest.mark.parametrize("before", [b"\x01", b"\x00"], ids=["ping", "padding"])
def test_ping_or_padding_before_crypto_passes(book: Playbook, before: bytes) -> None:
    book >> datagram(initial(before + crypto(0, hello_for(BAD)), least=1100)) << silence()


def test_an_empty_connection_id_is_blocked_too(book: Playbook) -> None:
    book >> datagram(initial(crypto(0, hello_for(BAD)), dcid=b"", least=1100)) << dropped()


def test_encrypted_client_hello_passes(book: Playbook) -> None:
    hello = message([(0, names((0, b"cover.example"))), (0xFE0D, bytes(100))])
    book >> datagram(initial(crypto(0, hello), least=1100)) << silence()


def test_a_share_of_fully_encrypted_connections_is_blocked(policy: Policy) -> None:
    engine, blocked = Engine(policy, seed=1), 0
    for packets in with_servers([syn(8388), syn_ack(8388), ack(8388), data(ENCRYPTED, 8388)], 3000):
        blocked += [engine.receive(raw, side, 1.0) for raw, side in packets][-1].verdict is Verdict.DROP
    assert abs(blocked / 3000 - 0.263) < 0.025


def blocked_connection(policy: Policy) -> Playbook:
    for seed in range(50):
        book = playbook(Engine(policy, seed=seed))
        if (opened(book, 8388) >> data(ENCRYPTED, 8388)).last.verdict is Verdict.DROP:
            return book << rule("encrypted")
    raise AssertionError("no connection was blocked")


def test_an_encrypted_connection_stays_blocked_with_its_3_tuple(policy: Policy) -> None:
    book = blocked_connection(policy)
    book >> data(b"GET / HTTP/1.1\r\n", 8388) << dropped()
    book >> wait(179) >> between(syn(8388), sport=SPORT + 1) << dropped()
    book >> syn(8389) << silence()
    book >> wait(2) >> between(syn(8388), sport=SPORT + 2) << silence()


@pytest.mark.parametrize("content", [
    bytes(300), b"abcdef" + ENCRYPTED, ENCRYPTED + b"x" * 400, ENCRYPTED + b"y" * 21, b"\x16\x03\x01" + ENCRYPTED,
    b"GET " + ENCRYPTED,
], ids=["Ex1", "Ex2", "Ex3", "Ex4", "Ex5 TLS", "Ex5 HTTP"])  # fmt: skip
def test_each_exemption_passes(policy: Policy, content: bytes) -> None:
    for seed in range(12):
        opened(playbook(Engine(policy, seed=seed)), 8388) >> data(content, 8388) << silence()


def test_encrypted_flows_from_outside_and_later_packets_pass(policy: Policy) -> None:
    for seed in range(12):
        book = opened(playbook(Engine(policy, seed=seed)), 8388)
        book >> data(b"SSH-2.0-OpenSSH_9.2\r\n", 8388) << silence() >> data(ENCRYPTED, 8388, 21) << silence()
        ends = {"client": SERVER, "server": CLIENT, "from_outside": True}
        book = opened(playbook(Engine(policy, seed=seed)), 8388, **ends)
        book >> between(data(ENCRYPTED, 8388), **ends) << silence()  # type: ignore[arg-type]


def test_a_reset_of_the_client_blinds_it(book: Playbook) -> None:
    opened(book) >> Send("RST", IP(src=CLIENT, dst=SERVER) / TCP(sport=SPORT, dport=443, flags="R", seq=ISN + 1))
    book >> client_hello(BAD) << silence()


def test_without_a_handshake_nothing_is_seen(book: Playbook) -> None:
    book >> client_hello(BAD) << silence()
    book >> ack() << silence()
