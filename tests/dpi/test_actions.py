"""Each action: what is injected, to whom, byte by byte as Scapy reads it, and what lasts."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.dns import DNS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6

from testbed.dpi.decision import Side, Verdict
from tests.dpi.one_rule import ANY_TLS, injected, one_rule, sides, udp
from tests.dpi.playbook import (
    CLIENT,
    INSIDE,
    ISN,
    OUTSIDE,
    PEER_ISN,
    SERVER,
    Playbook,
    Send,
    ack,
    client_hello,
    data,
    from_server,
    hello_bytes,
    playbook,
    query,
    request,
    silence,
    syn,
    syn_ack,
    wait,
)

HELLO = len(hello_bytes("a.com"))
HTTP: dict[str, Any] = {"http_host": {"patterns": ["=a.com"]}}
DNS_A: dict[str, Any] = {"dns": {"patterns": ["=a.com"]}}


def connected(engine: Any, dport: int = 443) -> Playbook:
    return playbook(engine) >> syn(dport) >> syn_ack(dport) >> ack(dport)


def test_resets_to_both_ends_fit_both_windows() -> None:
    book = connected(one_rule(ANY_TLS, {"rst": {"to": "both", "flags": "RA"}})) >> client_hello("a.com")
    to_client, to_server = injected(book.last)
    assert sides(book.last) == [INSIDE, OUTSIDE]
    assert (to_client[IP].src, to_client[TCP].seq, to_client[TCP].ack) == (SERVER, PEER_ISN + 1, ISN + 1 + HELLO)
    assert (to_server[IP].src, to_server[TCP].seq, to_server[TCP].ack) == (CLIENT, ISN + 1 + HELLO, PEER_ISN + 1)


def test_a_rising_triple() -> None:
    shape = {"flags": "RA", "count": 3, "window": 100, "window_step": 7, "ttl_step": 2}
    book = connected(one_rule(ANY_TLS, {"rst": shape}, policy={"injector": {"ttl": 50}})) >> client_hello("a.com")
    packets = injected(book.last)
    assert [packet[TCP].window for packet in packets] == [100, 107, 114]
    assert [packet[IP].ttl for packet in packets] == [50, 52, 54]
    assert len({packet[TCP].seq for packet in packets}) == 1


def test_offsets_payload_and_ends_by_their_part() -> None:
    shape = {"to": "client", "seq_offsets": [0, 1460], "payload": "de ad"}
    censor = one_rule({"payload": [{"contains": ["bad"]}]}, {"rst": shape})
    book = connected(censor, 80) >> from_server("PA", PEER_ISN + 1, ISN + 1, b"very bad", 80)
    packets = injected(book.last)
    assert sides(book.last) == [INSIDE, INSIDE]
    assert [packet[TCP].seq for packet in packets] == [PEER_ISN + 9, PEER_ISN + 9 + 1460]
    assert all(bytes(packet[TCP].payload) == b"\xde\xad" for packet in packets)


def test_late_injections_are_drawn_between_their_bounds() -> None:
    delays = set()
    for seed in range(20):
        censor = one_rule(ANY_TLS, {"rst": {"after": "10 ms", "spread": "5 ms"}}, seed=seed)
        delays.add((connected(censor) >> client_hello("a.com")).last.injections[0].after_s)
    assert all(0.010 <= delay < 0.015 for delay in delays)
    assert len(delays) > 10


def test_unreachable_quotes_the_packet() -> None:
    book = playbook(one_rule({"ports": [9]}, {"icmp": {"code": "host"}})) >> udp(b"content", 9)
    (packet,) = injected(book.last)
    assert (packet[IP].src, packet[IP].dst) == (SERVER, CLIENT)
    assert (packet[ICMP].type, packet[ICMP].code) == (3, 1)
    quoted = IP(bytes(packet[ICMP].payload))
    assert (quoted.src, quoted[UDP].dport) == (CLIENT, 9)


def test_unreachable_in_ipv6() -> None:
    packet = IPv6(src="2001:db8:64::1", dst="2001:db8:19::1") / UDP(sport=1, dport=9) / b"x"
    book = playbook(one_rule({"ports": [9]}, {"icmp": {}})) >> Send("six", packet)
    (error,) = injected(book.last)
    assert (error[IPv6].src, error[ICMPv6DestUnreach].code) == ("2001:db8:19::1", 1)
    again = error.copy()
    again[ICMPv6DestUnreach].cksum = None
    assert bytes(again) == bytes(error)


@pytest.mark.parametrize(
    ("answer", "qtype", "expected"),
    [
        ({"a": "10.1.2.3"}, "A", ("10.1.2.3", 1)),
        ({"a": "10.1.2.3", "aaaa": "2001:db8::1"}, "AAAA", ("2001:db8::1", 28)),
        ({"a": "10.1.2.3"}, "AAAA", ("10.1.2.3", 1)),
        ({"a": "10.1.2.3", "other_types": "empty"}, "AAAA", None),
        ({"cname": "block.example"}, "A", (b"block.example.", 5)),
        ({"rcode": "nxdomain"}, "A", None),
    ],
)
def test_forged_answers(answer: dict[str, Any], qtype: str, expected: tuple[object, int] | None) -> None:
    book = playbook(one_rule(DNS_A, {"dns_answer": answer})) >> query("a.com", qtype)
    (packet,) = injected(book.last)
    message = packet[DNS]
    assert (message.id, message.qr, message.qdcount) == (7, 1, 1)
    assert message.rcode == (3 if "rcode" in answer else 0)
    if expected is None:
        assert message.ancount == 0
    else:
        assert (message.an[0].rdata, message.an[0].type) == expected


def test_a_type_left_alone_draws_no_answer() -> None:
    censor = one_rule(DNS_A, {"dns_answer": {"a": "10.1.2.3", "other_types": "pass"}})
    playbook(censor) >> query("a.com", "TXT") << silence()


def test_several_answers_from_a_pool_and_a_dropped_query() -> None:
    pool = [f"10.0.0.{n}" for n in range(1, 9)]
    censor = one_rule(DNS_A, {"dns_answer": {"a": pool, "count": 3, "drop_query": True}})
    book = playbook(censor) >> query("a.com")
    assert book.last.verdict is Verdict.DROP
    assert {packet[DNS].an[0].rdata for packet in injected(book.last)} < set(pool)
    assert len(book.last.injections) == 3


def test_dns_over_tcp_is_answered_in_the_stream() -> None:
    censor = one_rule(DNS_A, {"dns_answer": {"a": "10.1.2.3"}}, policy={"parser": {"dns_over_tcp": True}})
    message = bytes(query("a.com").packet[DNS])
    book = connected(censor, 53) >> data(len(message).to_bytes(2, "big") + message, 53)
    (packet,) = injected(book.last)
    content = bytes(packet[TCP].payload)
    assert packet[TCP].seq == PEER_ISN + 1
    assert DNS(content[2:]).an[0].rdata == "10.1.2.3"
    assert int.from_bytes(content[:2], "big") == len(content) - 2


def test_a_block_page_fills_several_segments_and_ends_the_stream() -> None:
    page = {"status": 451, "reason": "Unavailable", "body": "x" * 3000, "headers": ["X-Censor: yes"]}
    book = connected(one_rule(HTTP, {"block_page": page}), 80) >> request("a.com")
    packets = injected(book.last)
    stream = b"".join(bytes(packet[TCP].payload) for packet in packets)
    assert stream.startswith(b"HTTP/1.1 451 Unavailable\r\n")
    assert b"X-Censor: yes\r\n" in stream and stream.endswith(b"\r\n\r\n" + b"x" * 3000)
    assert ["F" in str(packet[TCP].flags) for packet in packets] == [False, False, True]
    starts = [packet[TCP].seq for packet in packets]
    assert starts[1] == starts[0] + len(bytes(packets[0][TCP].payload))
    assert max(len(packet) for packet in packets) <= 1500


def test_a_redirect() -> None:
    page = {"location": "http://block.example/", "rst_peer": True}
    book = connected(one_rule(HTTP, {"block_page": page}), 80) >> request("a.com")
    answer, reset = injected(book.last)
    assert bytes(answer[TCP].payload).startswith(b"HTTP/1.1 302 Found\r\nLocation: http://block.example/\r\n")
    assert str(reset[TCP].flags) == "R"
    assert sides(book.last) == [INSIDE, OUTSIDE]


def test_a_tls_alert() -> None:
    book = connected(one_rule(ANY_TLS, {"tls_alert": {"description": 49}})) >> client_hello("a.com")
    (packet,) = injected(book.last)
    assert bytes(packet[TCP].payload) == b"\x15\x03\x03\x00\x02\x02\x31"


def test_freeze_after_bytes_of_the_server() -> None:
    book = connected(one_rule(ANY_TLS, {"freeze": {"after_bytes": "3 kB"}})) >> client_hello("a.com") << silence()
    verdicts = []
    for number in range(5):
        book >> from_server("A", PEER_ISN + 1 + 1000 * number, ISN + 1 + HELLO, bytes(1000))
        verdicts.append(book.last.verdict)
    assert verdicts == [Verdict.PASS] * 3 + [Verdict.DROP] * 2
    book >> data(b"the client may go on", offset=HELLO) << silence()


def test_freeze_after_packets() -> None:
    book = connected(one_rule(ANY_TLS, {"freeze": {"after_packets": 2, "sender": "both"}})) >> client_hello("a.com")
    verdicts = [(book >> data(b"x", offset=HELLO)).last.verdict for _ in range(3)]
    assert verdicts == [Verdict.PASS, Verdict.DROP, Verdict.DROP]


def test_impairment_is_a_share_of_packets_and_marks_what_it_damages() -> None:
    censor = one_rule({"ports": [9]}, {"impair": {"loss": "20 %", "corrupt": "20 %", "delay": "50 ms"}})
    book = playbook(censor)
    lost = damaged = delayed = 0
    for _ in range(1000):
        book >> udp(b"content", 9)
        if book.last.injections:
            damaged += 1
            (item,) = book.last.injections
            assert item.toward is OUTSIDE
            assert len(item.raw) == 35 and item.raw[:28] == bytes(udp(b"content", 9).packet)[:28]
            assert sum(a != b for a, b in zip(item.raw[28:], b"content", strict=True)) == 1
        elif book.last.verdict is Verdict.DROP:
            lost += 1
        else:
            assert book.last.until == pytest.approx(book.now + 0.050)
            delayed += 1
    assert 150 < lost < 250 and 110 < damaged < 210 and delayed > 500


def test_a_byte_is_flipped_in_the_payload_alone_whatever_the_lengths_say() -> None:
    """A packet may be captured in part, carry more than its datagram, or have padding of the link behind it."""
    censor = one_rule({"ports": [9]}, {"impair": {"corrupt": "100 %"}})
    whole = bytes(udp(b"content" * 9, 9).packet)
    short = whole[:24] + (8 + 7).to_bytes(2, "big") + whole[26:]
    for raw in (whole, whole[:30], short, whole + bytes(9)):
        (item,) = censor.receive(raw, INSIDE, 1.0).injections
        (at,) = (at for at, (a, b) in enumerate(zip(item.raw, raw, strict=True)) if a != b)
        assert 28 <= at < (35 if raw is short else len(whole)), raw.hex()


def test_a_shaped_bucket_of_a_name_is_shared_by_its_flows() -> None:
    spec = {"rate": "80 kbit/s", "burst": "1 kB", "mode": "shape", "key": "name"}
    censor = one_rule({"http_host": {"patterns": [".a.com"]}}, {"throttle": spec})
    first = connected(censor, 80) >> request("a.com")
    assert first.last.verdict is Verdict.PASS
    for dport in (81, 82, 83):
        second = playbook(censor)
        second >> syn(dport) >> syn_ack(dport) >> ack(dport)
        for _ in range(8):
            second >> data(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n" + bytes(200), dport)
    assert second.last.verdict is Verdict.DELAY
    assert second.last.until is not None and second.last.until > second.now + 0.1


@pytest.mark.parametrize(("what", "client", "server"), [("from-client", True, False), ("from-server", False, True)])
def test_one_direction_dropped(what: str, client: bool, server: bool) -> None:
    book = connected(one_rule(ANY_TLS, {"drop": what})) >> client_hello("a.com")
    assert (book.last.verdict is Verdict.DROP) is client
    book >> data(b"more", offset=HELLO)
    assert (book.last.verdict is Verdict.DROP) is client
    book >> from_server("A", PEER_ISN + 1, ISN + 1 + HELLO, b"answer")
    assert (book.last.verdict is Verdict.DROP) is server


def test_a_ban_covers_the_server_for_everybody() -> None:
    book = connected(one_rule(ANY_TLS, {"ban": {"lasts": "1 h"}})) >> client_hello("a.com")
    assert book.last.verdict is Verdict.DROP
    other = IP(src="100.64.1.77", dst=SERVER) / UDP(sport=1, dport=2) / b"x"
    book >> Send("somebody else", other)
    assert book.last.verdict is Verdict.DROP
    book >> wait(3601) >> Send("somebody else", other) << silence()


def test_delay_of_one_packet() -> None:
    book = playbook(one_rule({"ports": [9]}, {"delay": "100 ms"})) >> udp(b"x", 9)
    assert book.last.verdict is Verdict.DELAY
    assert book.last.until == pytest.approx(book.now + 0.1)


def test_watching_changes_nothing_but_tells() -> None:
    book = playbook(one_rule({"ports": [9]}, {"watch": True})) >> udp(b"x", 9) << silence()
    assert [note.reason for note in book.last.notes] == ["noted"]


def test_interception_is_asked_for() -> None:
    book = connected(one_rule(ANY_TLS, {"intercept": True})) >> client_hello("a.com") << silence()
    assert book.last.intercept == "r"


@pytest.mark.parametrize(("answers", "banned"), [((b"", b"", b""), True), ((b"", b"HTTP/1.1 400", b""), False)])
def test_active_probing_bans_what_answers_like_a_proxy(answers: tuple[bytes, ...], banned: bool) -> None:
    censor = one_rule({"encrypted": True}, {"probe": {"ban": "1 h"}})
    noise = bytes((n * 89 + 7 ^ n >> 3) & 0xFF for n in range(200))
    book = connected(censor, 8388) >> data(noise, 8388)
    probes = book.last.probes
    assert [probe.sends for probe in probes] == ["random", "http", "tls"]
    assert {(probe.address, probe.port) for probe in probes} == {(bytes([198, 19, 3, 4]), 8388)}
    notes = [
        censor.probed(probe, connected=True, answer=answer, now=book.now)
        for probe, answer in zip(probes, answers, strict=True)
    ]
    assert [note is not None for note in notes] == [False, False, banned]
    book >> syn(9999)
    assert (book.last.verdict is Verdict.DROP) is banned


def test_what_is_told_can_be_kept_as_json() -> None:
    book = connected(one_rule(ANY_TLS, {"rst": {}})) >> client_hello("a.com")
    (note,) = book.last.notes
    assert note.as_json() == {
        "rule": "r", "flow": f"tcp {CLIENT}:40000 > {SERVER}:443", "reason": "reset",
        "evidence": {"sni": "a.com", "pattern": "*a.com*"},
    }  # fmt: skip
    assert Side.INSIDE.other is OUTSIDE
