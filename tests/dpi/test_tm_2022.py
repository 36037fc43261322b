"""Every measured row of the Turkmen DPI (facts §1) against the shipped policy `tm-2022`."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP

from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from testbed.wire import tls
from tests.dpi.playbook import (
    CLIENT,
    DPORT,
    INSIDE,
    ISN,
    OUTSIDE,
    PEER_ISN,
    SERVER,
    SPORT,
    Playbook,
    Send,
    ack,
    answer,
    between,
    client_hello,
    data,
    datagram,
    dropped,
    from_server,
    hello_bytes,
    opened,
    playbook,
    query,
    request,
    request_bytes,
    reset,
    segment,
    silence,
    syn,
    syn_ack,
    wait,
)  # fmt: skip

BAD, GOOD = "twitter.com", "example.org"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tm-2022")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


def connected(book: Playbook, dport: int = DPORT) -> Playbook:
    return book >> syn(dport) >> syn_ack(dport) >> ack(dport) << silence()


@pytest.mark.parametrize("dport", [443, 8443, 22])
def test_sni_draws_one_reset_on_any_port(book: Playbook, dport: int) -> None:
    connected(book, dport) >> client_hello(BAD, dport) << reset(INSIDE)


@pytest.mark.parametrize("dport", [80, 8080])
def test_host_draws_one_reset_on_any_port(book: Playbook, dport: int) -> None:
    connected(book, dport) >> request(BAD, dport) << reset(INSIDE)


def test_innocent_names_pass(book: Playbook) -> None:
    connected(book) >> client_hello(GOOD) << silence()


def test_lists_differ_by_protocol(book: Playbook, policy: Policy) -> None:
    connected(book) >> client_hello("cdn.sstatic.net") << reset(INSIDE)
    connected(playbook(Engine(policy, seed=1)), 80) >> request("cdn.sstatic.net") << silence()


@pytest.mark.parametrize("name", ["xtwitter.com", "twitter.com.x", "notporn.example"])
def test_substrings_over_block(book: Playbook, name: str) -> None:
    connected(book) >> client_hello(name) << reset(INSIDE)


def test_reset_has_the_measured_shape(book: Playbook) -> None:
    connected(book) >> client_hello(BAD) << reset(INSIDE)
    raw = book.last.injections[0].raw
    seen = IP(raw)
    assert (seen.id, seen.ttl, int(seen.flags), seen.tos, seen.len, len(raw)) == (30000, 128, 0, 0, 40, 40)
    assert (seen.src, seen.dst, seen[TCP].sport, seen[TCP].dport) == (SERVER, CLIENT, DPORT, SPORT)
    assert (str(seen[TCP].flags), seen[TCP].window, seen[TCP].seq, seen[TCP].ack) == ("R", 0, PEER_ISN + 1, 0)


def test_filters_traffic_from_outside_too(book: Playbook) -> None:
    first = IP(src=SERVER, dst=CLIENT) / TCP(sport=5000, dport=80, flags="S", seq=1)
    second = IP(src=CLIENT, dst=SERVER) / TCP(sport=80, dport=5000, flags="SA", seq=5, ack=2)
    third = IP(src=SERVER, dst=CLIENT) / TCP(sport=5000, dport=80, flags="A", seq=2, ack=6)
    offence = IP(src=SERVER, dst=CLIENT) / TCP(sport=5000, dport=80, flags="PA", seq=2, ack=6) / request_bytes(BAD)
    book >> Send("SYN", first, OUTSIDE) >> Send("SYN+ACK", second) >> Send("ACK", third, OUTSIDE)
    book >> Send("request", offence, OUTSIDE) << reset(OUTSIDE)


def test_residual_lasts_30_s_on_the_4_tuple(book: Playbook) -> None:
    connected(book) >> client_hello(BAD) << reset(INSIDE)
    book >> wait(29) >> ack() << reset(INSIDE)
    book >> wait(0.5) >> from_server("A", PEER_ISN + 1, ISN + 1) << reset(OUTSIDE)
    book >> wait(1) >> ack() << silence()


def test_residual_says_how_much_of_it_is_left(book: Playbook) -> None:
    connected(book) >> client_hello(BAD) << reset(INSIDE)
    book >> wait(29) >> ack() << reset(INSIDE)
    (note,) = book.last.notes
    assert note.evidence == {"left_s": pytest.approx(1.0, abs=0.1)}


def test_residual_leaves_other_4_tuples_alone(book: Playbook) -> None:
    connected(book) >> client_hello(BAD) << reset(INSIDE)
    book >> syn(8443) << silence()


def test_without_a_handshake_the_first_payload_arms(book: Playbook) -> None:
    book >> data(request_bytes(BAD), 80) << silence()
    book >> wait(5) >> ack(80) << reset(INSIDE)


def test_without_a_handshake_the_window_ends(book: Playbook) -> None:
    book >> data(request_bytes(BAD), 80) << silence()
    book >> wait(31) >> ack(80) << silence()


@pytest.mark.parametrize("qtype", ["A", "AAAA", "TXT"])
def test_dns_draws_a_forged_answer(book: Playbook, qtype: str) -> None:
    book >> query(BAD, qtype) << answer()
    seen = IP(book.last.injections[0].raw)
    message = seen[DNS]
    assert (seen.id, seen.ttl, int(seen.flags), seen.tos) == (30000, 128, 0, 0)
    assert (seen.src, seen.dst, seen[UDP].sport, seen[UDP].dport) == (SERVER, CLIENT, 53, 5353)
    assert bytes(seen[UDP].payload)[2:4] == b"\x81\x80"
    assert (message.id, message.qdcount, message.ancount, message.nscount, message.arcount) == (7, 1, 1, 0, 0)
    assert (message.an[0].ttl, message.an[0].type) == (300, 1)
    assert b"\xc0\x0c\0\x01\0\x01" in bytes(seen[UDP].payload)


def test_dns_answer_to_edns_is_well_formed(book: Playbook) -> None:
    book >> query(BAD, edns=True) << answer()
    assert IP(book.last.injections[0].raw)[DNS].arcount == 0


@pytest.mark.parametrize(("count", "forged"), [(25, True), (26, False), (32, False)])
def test_dns_parser_limit(book: Playbook, count: int, forged: bool) -> None:
    book >> query(BAD, ancount=count) << (answer() if forged else silence())


def test_stun_is_dropped(book: Playbook) -> None:
    book >> Send("STUN", IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=3478) / bytes(20)) << dropped()
    book >> Send("3479", IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=3479) / bytes(20)) << silence()


OFFENCES = {80: request_bytes(BAD), 443: hello_bytes(BAD)}


@pytest.mark.parametrize(("dport", "cut"), [(80, 8), (443, 4)])
def test_segmentation_evades(book: Playbook, dport: int, cut: int) -> None:
    content = OFFENCES[dport]
    connected(book, dport) >> data(content[:cut], dport) << silence()
    book >> data(content[cut:], dport, cut) << silence()


@pytest.mark.parametrize("dport", [80, 443])
def test_reset_before_syn_evades(book: Playbook, dport: int) -> None:
    book >> segment("R", ISN, dport=dport)
    connected(book, dport) >> data(OFFENCES[dport], dport) << silence()


@pytest.mark.parametrize(("dport", "evades"), [(80, True), (443, False)])
def test_bad_checksum_reset_after_syn(book: Playbook, dport: int, evades: bool) -> None:
    book >> syn(dport) >> segment("R", ISN, dport=dport, chksum=0x1234) >> syn_ack(dport) >> ack(dport)
    book >> data(OFFENCES[dport], dport) << (silence() if evades else reset(INSIDE))


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: \t\n" + BAD.encode() + b"\r\n\r\n",
        b"GET / HTTP/1.1 \n\t\r\nHost: " + BAD.encode() + b"\r\n\r\n",
        b"\n" + request_bytes(BAD),
        b"GET / HTTP/1.1\r\nHost: " + BAD.encode() + b" " * 3391 + b"\r\nhOsT: " + BAD.encode() + b"\r\n\r\n",
    ],
    ids=["space-before-host", "space-after-version", "newline-before-method", "padded-host"],
)  # fmt: skip
def test_header_games_evade(book: Playbook, content: bytes) -> None:
    connected(book, 80) >> data(content, 80) << silence()


def test_the_checksum_is_not_verified_for_http(book: Playbook) -> None:
    connected(book, 80) >> segment("PA", ISN + 1, PEER_ISN + 1, request_bytes(BAD), 80, chksum=0x1234) << reset(INSIDE)


def test_the_true_answer_still_comes(book: Playbook) -> None:
    book >> query(BAD) << answer()
    reply = DNS(id=7, qr=1, qd=DNSQR(qname=BAD), an=DNSRR(rrname=BAD, rdata="198.18.0.80"))
    book >> Send("true answer", IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=5353) / reply, OUTSIDE) << silence()


def test_any_packet_in_the_window_draws_another_reset_but_a_reset_draws_none(book: Playbook) -> None:
    connected(book) >> client_hello(BAD) << reset(INSIDE)
    for offset in range(3):
        book >> data(b"anything", DPORT, 100 + offset) << reset(INSIDE)
    book >> segment("R", ISN + 1) << silence()


def test_not_every_host_is_filtered(policy: Policy) -> None:
    some = policy.model_copy(update={"filtered_hosts": 0.4})
    hosts = [f"100.64.7.{number}" for number in range(250)]
    seen: dict[str, set[str]] = {how: set() for how in ("dns", "sni", "from outside")}
    for host in hosts:
        book = playbook(Engine(some, seed=1))
        if (book >> between(query(BAD), client=host)).last.injections:
            seen["dns"].add(host)
        if (opened(book, client=host) >> between(client_hello(BAD), client=host)).last.injections:
            seen["sni"].add(host)
        ends: dict[str, Any] = {"client": SERVER, "server": host, "from_outside": True}
        if (opened(book, 80, **ends) >> between(request(BAD), **ends)).last.injections:
            seen["from outside"].add(host)
    assert seen["dns"] == seen["sni"] == seen["from outside"]
    assert 75 <= len(seen["dns"]) <= 125


def test_by_default_every_host_is(policy: Policy) -> None:
    assert policy.filtered_hosts == 1.0


def test_names_of_public_resolvers_are_blocked(book: Playbook) -> None:
    book >> query("cloudflare-dns.com") << answer()
    connected(book) >> client_hello("dns.adguard.com") << reset(INSIDE)


def test_addresses_of_public_resolvers_are_blocked(book: Playbook) -> None:
    book >> between(query("innocent.example"), server="198.18.0.210") << dropped()
    book >> between(syn(853), server="198.18.0.210") << dropped()
    book >> query("innocent.example") << silence()


def test_direct_tor_is_cut(book: Playbook) -> None:
    opened(book, 9001, server="198.18.0.200") << reset(INSIDE)


@pytest.mark.parametrize("name", ["www.msftncsi.com", "connectivitycheck.gstatic.com"])
def test_connectivity_checks_still_work(book: Playbook, name: str) -> None:
    book >> query(name) << silence()
    connected(book, 80) >> request(name) << silence()


@pytest.mark.parametrize(("name", "hit"), [
    ("www.google.de", True), ("google.com.tr", True), ("google.co.uk.", True), ("google.com", False),
    ("xgoogle.de", False),
])  # fmt: skip
def test_google_is_blocked_under_countries_domains(policy: Policy, name: str, hit: bool) -> None:
    connected(playbook(Engine(policy, seed=1))) >> client_hello(name) << (reset(INSIDE) if hit else silence())
    playbook(Engine(policy, seed=1)) >> query(name) << (answer() if hit else silence())


@pytest.mark.parametrize("name", ["vk.com", "www.facebook.com", "a-long-name-of-a-blocked-site.twitter.com"])
def test_the_hellos_by_which_names_were_measured(book: Playbook, name: str) -> None:
    """ART's `https_censorship.py` writes the length of the extensions as if every name had 11 letters."""
    right = hello_bytes(name)
    at = right.index(b"\x01\0", 40) + 2
    content = (
        right[:at] + (int.from_bytes(right[at : at + 2], "big") + 11 - len(name)).to_bytes(2, "big") + right[at + 2 :]
    )
    assert tls.sni_of_beginning(content) is None or len(name) < 11
    connected(book) >> data(content) << reset(INSIDE)


def test_no_rule_claims_what_was_not_found(policy: Policy) -> None:
    used = {key for rule in policy.rules for match in rule.match.walk() for key in match.model_fields_set}
    assert not used & {"quic_sni", "quic", "tls", "looks_like", "encrypted"}
    assert all(rule.action.kind != "throttle" for rule in policy.rules)


@pytest.mark.parametrize(("name", "port", "blocked"), [
    ("tm-2022", 3479, False), ("tm-2022-turkmentelecom", 3479, True), ("tm-2022-turkmentelecom", 3478, True),
    ("tm-2022-turkmentelecom", 3480, False),
])  # fmt: skip
def test_3479_is_blocked_on_turkmentelecom(name: str, port: int, blocked: bool) -> None:
    book = playbook(Engine(load_policy(name), seed=1))
    book >> datagram(bytes(20), port) << (dropped() if blocked else silence())
