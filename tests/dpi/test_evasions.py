"""Evasion families against presets: which censors fall (`-`) and which stand (`seen`).

The strategies are Geneva's (Bock et al. 2019) and the facts' (§1, evasion table); the rows of the mock censors
`geneva-N` were worked out from what their published code does with these packets.
"""

from __future__ import annotations

import struct

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw

from testbed.dpi.decision import Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy
from testbed.tools.geneva import Play
from tests.dpi.conversation import EVIDENCE, REQUEST, client_packets, is_censored, keyword_policy
from tests.dpi.playbook import (
    ISN,
    PEER_ISN,
    Send,
    ack,
    data,
    from_server,
    hello_bytes,
    segment,
    syn,
    syn_ack,
)  # fmt: skip

JUNK = "A" * 50
STRATEGIES = {
    "no strategy": r"\/",
    "segments in order": r"[TCP:flags:PA]-fragment{tcp:11:True}-| \/",
    "segments reversed": r"[TCP:flags:PA]-fragment{tcp:11:False}-| \/",
    "IP fragments": r"[TCP:flags:PA]-fragment{ip:24:True}-| \/",
    "RST, bad checksum": r"[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:R}(tamper{TCP:chksum:corrupt},))-| \/",
    "RST, low TTL": r"[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:R}(tamper{IP:ttl:replace:8},))-| \/",
    "RST, low TTL, wrong seq": r"[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:R}(tamper{IP:ttl:replace:8}"
    r"(tamper{TCP:seq:corrupt},),))-| \/",
    "RST+ACK, low TTL": r"[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:RA}(tamper{IP:ttl:replace:8},))-| \/",
    "FIN, low TTL": r"[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:F}(tamper{IP:ttl:replace:8},))-| \/",
    "RST before SYN": r"[TCP:flags:S]-duplicate(tamper{TCP:flags:replace:R},)-| \/",
    "second SYN, wrong seq": r"[TCP:flags:S]-duplicate(,tamper{TCP:seq:corrupt})-| \/",
    "junk in a second SYN": rf"[TCP:flags:S]-duplicate(,tamper{{TCP:load:replace:{JUNK}}})-| \/",
    "SYN twice": r"[TCP:flags:S]-duplicate-| \/",
    "first SYN, wrong seq, low TTL": r"[TCP:flags:S]-duplicate(tamper{TCP:seq:corrupt}(tamper{IP:ttl:replace:8},),)"
    r"-| \/",
    "late SYN, wrong seq, low TTL": r"[TCP:flags:A]-duplicate(,tamper{TCP:flags:replace:S}(tamper{TCP:seq:corrupt}"
    r"(tamper{IP:ttl:replace:8},),))-| \/",
    "ACK, wrong seq, low TTL": r"[TCP:flags:A]-duplicate(,tamper{TCP:seq:corrupt}(tamper{IP:ttl:replace:8},))-| \/",
    "junk first, bad checksum": rf"[TCP:flags:PA]-duplicate(tamper{{TCP:load:replace:{JUNK}}}"
    r"(tamper{TCP:chksum:corrupt},),)-| \/",
    "junk first, low TTL": rf"[TCP:flags:PA]-duplicate(tamper{{TCP:load:replace:{JUNK}}}(tamper{{IP:ttl:replace:8}},),)"
    r"-| \/",
    "junk first, no ACK flag": rf"[TCP:flags:PA]-duplicate(tamper{{TCP:load:replace:{JUNK}}}"
    r"(tamper{TCP:flags:replace:P},),)-| \/",
    "junk first, bad data offset": rf"[TCP:flags:PA]-duplicate(tamper{{TCP:load:replace:{JUNK}}}"
    r"(tamper{TCP:dataofs:replace:4},),)-| \/",
    "FIN, then junk out of sequence": r"[TCP:flags:A]-duplicate(,duplicate(tamper{TCP:flags:replace:F}"
    r"(tamper{IP:ttl:replace:8},),tamper{TCP:flags:replace:PA}(tamper{TCP:seq:corrupt}(tamper{IP:ttl:replace:8},),)))"
    r"-| \/",
    "bad RST, then junk out of sequence": r"[TCP:flags:A]-duplicate(,duplicate(tamper{TCP:flags:replace:R}"
    r"(tamper{TCP:chksum:corrupt},),tamper{TCP:flags:replace:PA}(tamper{TCP:seq:corrupt}(tamper{TCP:chksum:corrupt},)"
    r",)))-| \/",
}
TABLE = """
                                    tm-2022 gfw  strict g-0  g-1  g-2  g-3  g-4  g-5  g-6  g-7  g-8  g-8b g-9  g-10 g-11
no strategy                         seen    seen seen   -    seen seen seen seen seen seen seen seen seen seen seen seen
segments in order                   -       seen seen   -    -    -    -    -    -    -    -    -    -    -    -    -
segments reversed                   -       seen seen   -    -    -    -    -    -    -    -    -    -    -    -    -
IP fragments                        -       seen seen   -    -    -    -    -    -    -    -    -    -    -    -    -
RST, bad checksum                   -       -    seen   -    seen seen seen seen seen -    -    -    -    seen seen seen
RST, low TTL                        -       -    seen   -    seen seen seen seen seen -    -    -    -    seen -    -
RST, low TTL, wrong seq             -       -    seen   -    seen seen seen seen seen -    -    seen seen seen seen seen
RST+ACK, low TTL                    -       -    seen   -    seen seen seen seen seen -    -    seen -    seen seen -
FIN, low TTL                        seen    seen seen   -    seen seen seen seen seen -    -    -    seen seen -    -
RST before SYN                      -       seen seen   -    seen seen seen seen seen -    seen seen seen seen seen seen
second SYN, wrong seq               seen    seen seen   -    -    -    -    seen -    seen seen seen -    seen -    seen
first SYN, wrong seq, low TTL       seen    seen seen   -    seen seen seen seen seen seen seen seen -    -    seen seen
junk in a second SYN                seen    seen seen   -    seen seen seen seen seen seen seen seen -    seen seen seen
SYN twice                           seen    seen seen   -    seen seen seen seen seen seen seen seen -    seen seen seen
late SYN, wrong seq, low TTL        seen    seen seen   -    -    -    -    -    -    seen seen seen -    seen -    -
ACK, wrong seq, low TTL             seen    seen seen   -    seen seen seen -    seen seen seen seen seen seen seen -
junk first, bad checksum            seen    -    seen   -    -    -    -    -    -    seen seen seen -    -    seen seen
junk first, low TTL                 seen    -    seen   -    -    -    -    -    -    seen seen seen -    -    -    -
junk first, no ACK flag             seen    -    seen   -    -    -    -    -    -    seen seen seen -    -    -    -
junk first, bad data offset         seen    -    seen   -    -    -    -    -    -    seen seen seen seen -    -    seen
FIN, then junk out of sequence      seen    seen seen   -    seen seen seen seen seen -    -    -    seen -    -    -
bad RST, then junk out of sequence  -       -    seen   -    seen seen seen seen seen -    -    -    -    -    seen seen
"""
_HEAD, *_ROWS = TABLE.strip("\n").splitlines()
PRESETS = [name.replace("g-", "geneva-") for name in _HEAD.split()]
EXPECTED = [
    (row[:36].strip(), preset, cell == "seen")
    for row in _ROWS
    for preset, cell in zip(PRESETS, row[36:].split(), strict=True)
]


@pytest.mark.parametrize(("strategy", "preset", "seen"), EXPECTED)
def test_which_censors_see_through_a_strategy(strategy: str, preset: str, seen: bool) -> None:
    assert is_censored(keyword_policy(preset), STRATEGIES[strategy]) is seen


def named(preset: str, **parser: object) -> Policy:
    rules = [
        {"name": kind, "match": {kind: {"patterns": ["=a.com"]}}, "action": {action: {}}, "evidence": EVIDENCE}
        for kind, action in (("http_host", "rst"), ("sni", "rst"), ("dns", "dns_answer"))
    ]
    return Policy.model_validate(
        {"policy": "p", "title": "t", "placement": "in-path", "preset": preset, "parser": parser, "rules": rules}
    )


def test_chaff_that_is_not_believed_does_not_wear_a_careful_censor_out() -> None:
    ttl = r"[TCP:flags:PA]-duplicate(tamper{TCP:load:replace:junk}(tamper{IP:ttl:replace:8},),)-| \/"
    engine, play = Engine(keyword_policy("strict"), seed=1), Play(ttl, seed=1)
    syn, ack, data = client_packets(REQUEST)
    for raw in (syn, ack):
        engine.receive(raw, Side.INSIDE, 1.0)
    chaff = play.handle(data)[0].raw
    for _ in range(2000):
        engine.receive(chaff, Side.INSIDE, 1.0)
    assert engine.receive(data, Side.INSIDE, 1.0).injections


def test_a_request_byte_by_byte() -> None:
    for preset, seen in (("strict", True), ("tm-2022", False)):
        engine = Engine(keyword_policy(preset), seed=1)
        syn, ack, data = client_packets(REQUEST)
        found = [bool(engine.receive(raw, Side.INSIDE, 1.0).injections) for raw in (syn, ack)]
        for at in range(len(REQUEST)):
            piece = IP(data)
            piece[TCP].seq += at
            piece[TCP].payload = Raw(REQUEST[at : at + 1])
            piece[IP].len = piece[IP].chksum = piece[TCP].chksum = None
            found.append(bool(engine.receive(bytes(piece), Side.INSIDE, 1.0).injections))
        assert any(found) is seen


def words(*steps: Send) -> bool:
    """Say whether a strict censor interferes in a conversation."""
    engine = Engine(keyword_policy("strict"), seed=1)
    return any(engine.receive(bytes(step.packet), step.side, 1.0).injections for step in steps)


def test_what_the_server_acknowledged_stays_as_it_is() -> None:
    """A keep-alive's byte (RFC 1122 §4.2.3.6) and junk over old data reach nobody; a server ignores both."""
    half, rest = data(REQUEST[:9], 80), data(REQUEST[9:], 80, offset=9)
    heard = from_server("A", PEER_ISN + 1, ISN + 10, dport=80)
    for junk in (segment("A", ISN + 9, PEER_ISN + 1, b"\0", 80), data(b"x" * 9, 80)):
        assert words(syn(80), syn_ack(80), ack(80), half, heard, junk, rest)


def test_a_port_used_again_without_an_end_is_a_new_connection() -> None:
    first = (syn(80), syn_ack(80), ack(80), data(b"GET / HTTP/1.1\r\n\r\n", 80))
    again = (segment("S", 7000, dport=80), from_server("SA", 800, 7001, dport=80), segment("A", 7001, 801, dport=80))
    assert words(*first, *again, segment("PA", 7001, 801, REQUEST, 80))
    assert words(*first, syn_ack(80), data(REQUEST, 80, offset=18)), "an answer sent again is no new connection"


@pytest.mark.parametrize("cut", [len(REQUEST), 12])
def test_data_in_a_syn(cut: int) -> None:
    """TCP Fast Open: the server's SYN+ACK acknowledges it."""
    opening = segment("S", ISN, 0, REQUEST[:cut], 80), from_server("SA", PEER_ISN, ISN + 1 + cut, dport=80)
    assert words(*opening, data(REQUEST[cut:], 80, offset=cut))


@pytest.mark.parametrize(("preset", "seen"), [("geneva-8b", False), ("geneva-9", True), ("geneva-10", False)])
def test_which_mock_censors_look_into_a_syn(preset: str, seen: bool) -> None:
    engine = Engine(keyword_policy(preset), seed=1)
    decision = engine.receive(bytes(segment("S", ISN, 0, REQUEST, 80).packet), Side.INSIDE, 1.0)
    assert bool(decision.injections) is seen


def dns_stream(*segments: bytes) -> list[str]:
    """Return the names that a strict censor answers in one TCP connection to a resolver."""
    engine, seq, found = Engine(named("strict"), seed=1), ISN + 1, list[str]()
    for step in (syn(53), syn_ack(53), ack(53)):
        engine.receive(bytes(step.packet), step.side, 1.0)
    for content in segments:
        decision = engine.receive(bytes(segment("PA", seq, PEER_ISN + 1, content, 53).packet), Side.INSIDE, 1.0)
        seq += len(content)
        found += [IP(item.raw)[DNS].qd.qname.decode() for item in decision.injections]
    return found


def test_questions_of_one_stream_are_all_read() -> None:
    """RFC 7766: several in one segment or many, each whole or cut anywhere; none is answered twice."""
    good, bad = (
        struct.pack("!H", len(message)) + message for message in (bytes(DNS(qd=DNSQR(qname=f"{n}.com"))) for n in "ba")
    )
    assert dns_stream(good + bad) == dns_stream(good, bad) == dns_stream(good + bad[:9], bad[9:]) == ["a.com."]
    assert dns_stream(bad, good) == dns_stream(bad[:-1], bad[-1:] + good) == ["a.com."]
    assert dns_stream(*(bytes([byte]) for byte in good + bad + bad)) == ["a.com.", "a.com."]


@pytest.mark.parametrize(("preset", "seen"), [("strict", True), ("gfw", False)])
def test_an_alert_before_the_hello(preset: str, seen: bool) -> None:
    """OpenSSL's servers go on after a warning."""
    warning = b"\x15\x03\x01\0\x02\x01\0"
    assert is_censored(named(preset), r"\/", warning + hello_bytes("a.com"), dport=443) is seen


HEADER_GAMES = {
    "plain": b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n",
    "white space before the host": b"GET / HTTP/1.1\r\nHost: \t\na.com\r\n\r\n",
    "white space after the version": b"GET / HTTP/1.1 \n\t\r\nHost: a.com\r\n\r\n",
    "newline before the method": b"\nGET / HTTP/1.1\r\nHost: a.com\r\n\r\n",
    "a host besides": b"GET / HTTP/1.1\r\nHost: b.com\r\nHost: a.com\r\n\r\n",
    "padded host": b"GET / HTTP/1.1\r\nHost: a.com" + b" " * 3391 + b"\r\n\r\n",
}


@pytest.mark.parametrize("game", HEADER_GAMES)
def test_header_games_evade_the_measured_censor_only(game: str) -> None:
    request = HEADER_GAMES[game]
    assert is_censored(named("tm-2022"), r"\/", request) is (game == "plain")
    assert is_censored(named("strict"), r"\/", request)


@pytest.mark.parametrize(("preset", "joins"), [("tm-2022", False), ("gfw", False), ("strict", True)])
def test_a_hello_in_two_records(preset: str, joins: bool) -> None:
    hello = hello_bytes("a.com")
    body = hello[5:]
    split = b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part for part in (body[:30], body[30:]))
    assert is_censored(named(preset), r"\/", split, dport=443) is joins
    assert is_censored(named(preset), r"\/", hello, dport=443)


@pytest.mark.parametrize(("preset", "seen"), [("tm-2022", False), ("gfw", True), ("strict", True)])
def test_count_elevation(preset: str, seen: bool) -> None:
    query = DNS(id=1, rd=1, qd=DNSQR(qname="a.com"), ancount=32)
    raw = bytes(IP(src="100.64.1.1", dst="198.18.0.53") / UDP(sport=5353, dport=53) / query)
    assert bool(Engine(named(preset), seed=1).receive(raw, Side.INSIDE, 1.0).injections) is seen


@pytest.mark.parametrize("preset", ["gfw", "strict", "tm-2022", "geneva-4"])
def test_a_connection_met_at_its_answer_has_its_client_at_the_other_end(preset: str) -> None:
    """The box began late, or the SYN came in fragments that it doesn't read."""
    engine = Engine(keyword_policy(preset), seed=1)
    _, client_ack, request = client_packets(REQUEST)
    answer = bytes(IP(src="198.19.3.4", dst="100.64.1.1") / TCP(sport=80, dport=40000, flags="SA", seq=9, ack=1001))
    for raw, side in ((answer, Side.OUTSIDE), (client_ack, Side.INSIDE)):
        assert not engine.receive(raw, side, 1.0).injections
    assert engine.receive(request, Side.INSIDE, 1.0).injections


def test_a_syn_says_who_the_client_is_whatever_came_before() -> None:
    strategy = r"[TCP:flags:S]-duplicate(tamper{TCP:flags:replace:SA},)-| \/"  # 3 % success in China (Bock et al. 2019)
    assert all(is_censored(keyword_policy(preset), strategy) for preset in ("gfw", "strict", "tm-2022"))
