"""DNS fields, `compress` and `trace`: golden bytes of Geneva's own tests, Scapy as the oracle, a censor that falls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP

from testbed.dpi.decision import Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.tools.geneva import Play, StrategyError, apply, parse


def query(name: str = "www.azathabar.com", **fields: Any) -> bytes:
    """A question to a resolver."""
    given: dict[str, Any] = {"id": 7, "rd": 1, **fields}
    head = IP(src="100.64.0.10", dst="198.18.0.53") / UDP(sport=40000, dport=53)
    return bytes(head / DNS(qd=DNSQR(qname=name), **given))


def tampered(tamper: str, raw: bytes) -> bytes:
    (sent,) = apply(f"[UDP:dport:53]-tamper{{{tamper}}}-|", raw)
    return sent


def message(raw: bytes) -> bytes:
    """The DNS message in a packet, whose lengths and checksums must be right."""
    fresh = IP(raw)
    for layer, field in ((IP, "len"), (IP, "chksum"), (UDP, "len"), (UDP, "chksum")):
        fresh[layer].delfieldval(field)
    assert bytes(fresh) == raw
    return raw[28:]


#: golden: Geneva's test_decompress
@pytest.mark.parametrize(("name", "wanted"), [
    ("minghui.ca.", b"\x02\0\0\0\0\0\0\x07minghui\xc0\x1a\0\1\0\1\x02ca\0\0\1\0\1"),
    ("maps.google.com", b"\x02\0\0\0\0\0\0\x04maps\xc0\x17\0\1\0\1\x06google\x03com\0\0\1\0\1"),
])  # fmt: skip
def test_a_question_is_compressed_into_two(name: str, wanted: bytes) -> None:
    sent = tampered("DNS:qd:compress", query(name, id=0))
    assert message(sent) == b"\0\0\1\0\0" + wanted
    assert DNS(message(sent)).qd[0].qname.decode().rstrip(".") == name.rstrip(".")


def test_what_is_no_question_over_udp_is_left_alone() -> None:
    over_tcp = bytes(IP(dst="198.18.0.53") / TCP(dport=53, flags="PA") / DNS(qd=DNSQR(qname="a.com")))
    assert apply("[IP:version:4]-tamper{DNS:qd:compress}-|", over_tcp) == [over_tcp]
    plain = bytes(IP(dst="198.18.0.53") / UDP(sport=1, dport=53) / b"short")
    assert apply("[IP:version:4]-tamper{DNS:ancount:replace:3}-|", plain) == [plain]


FIELDS: dict[str, Any] = {
    "id": 4660, "qr": 1, "opcode": 9, "aa": 1, "tc": 1, "rd": 0, "ra": 1, "z": 1, "ad": 1, "cd": 1, "rcode": 5,
    "ancount": 32, "nscount": 9, "arcount": 12345,
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), FIELDS.items())
def test_a_header_field_is_what_scapy_makes_of_it(field: str, value: int) -> None:
    sent, fields = tampered(f"DNS:{field}:replace:{value}", query()), dict[str, Any]({field: value})
    assert message(sent) == message(query(**fields))
    assert apply(f"[DNS:{field}:{value}]-drop-|", sent) == []
    assert apply(f"[DNS:{field}:{value}]-drop-|", query()) == [query()]
    assert message(tampered(f"DNS:{field}:corrupt", query())) != message(query())


@pytest.mark.parametrize(("field", "value", "wanted"), [
    ("qtype", "28", {"qtype": 28}), ("qclass", "3", {"qclass": 3}), ("qname", "b.example", {"qname": "b.example"}),
])  # fmt: skip
def test_so_is_one_of_the_question(field: str, value: str, wanted: dict[str, Any]) -> None:
    asked = DNSQR(**{"qname": "www.azathabar.com", **wanted})
    expected = bytes(IP(src="100.64.0.10", dst="198.18.0.53") / UDP(sport=40000, dport=53) / DNS(id=7, rd=1, qd=asked))
    assert message(tampered(f"DNSQR:{field}:replace:{value}", query())) == message(expected)


def test_triggers_read_names() -> None:
    assert apply("[DNSQR:qname:www.azathabar.com.]-drop-|", query("www.AZATHABAR.com")) == []
    assert apply("[DNSQR:qname:azathabar*]-drop-|", query()) == []
    assert apply("[DNSQR:qname:example.org.]-drop-|", query()) == [query()]


@pytest.mark.parametrize(("policy", "evades"), [("tm-2022", True), ("china", False)])
def test_count_elevation_evades_the_measured_censor(policy: str, evades: bool) -> None:
    """25 records are counted, 26 are not looked at (facts §1)."""
    name = "www.azathabar.com" if policy == "tm-2022" else "www.google.com"
    for count, seen in ((25, True), (26, not evades)):
        sent = tampered(f"DNS:ancount:replace:{count}", query(name))
        assert bool(Engine(load_policy(policy), seed=1).receive(sent, Side.INSIDE, 1.0).injections) is seen


def test_a_trace_is_sent_once_then_all_is_dropped() -> None:
    """Geneva's ends one below its last TTL, and waits a second after each."""
    play = Play("[UDP:dport:53]-trace{2:5}-|")
    sent = play.handle(query())
    assert [(IP(each.raw).ttl, each.delay_s) for each in sent] == [(2, 0.0), (3, 1.0), (4, 2.0)]
    assert all(message(each.raw) == message(query()) for each in sent)
    assert play.handle(query()) == []
    assert len(Play("[UDP:dport:53]-trace-|").handle(query())) == 63


@pytest.mark.parametrize(("text", "why"), [
    ("[DNS:qd:1]-drop-|", "column 2: `1` is no value of DNS:qd; only `tamper{DNS:qd:compress}` works on it"),
    ("[DNS:id:1]-tamper{DNS:id:compress}-|", "column 12: `compress` can't be done to DNS:id; write `tamper{DNS:qd"),
    ("[DNS:id:1]-tamper{DNS:qd:corrupt}-|", "column 12: `corrupt` can't be done to DNS:qd; write `tamper{DNS:qd"),
    ("[DNS:id:1]-tamper{DNS:aa:replace:2}-|", "column 12: `2` is no value of DNS:aa; write a number from 0 to 1"),
    ("[DNS:id:1]-trace{9:2}-|", "column 12: `trace{9:2}` is no range; write `trace{1:64}`"),
    ("[DNS:id:1]-trace(drop,)-|", "column 12: nothing comes after `trace{1:64}`"),
    (r"\/ [DNS:id:1]-trace-|", "column 15: `trace` can't be done to packets that come in"),
])  # fmt: skip
def test_what_can_not_be_is_refused(text: str, why: str) -> None:
    with pytest.raises(StrategyError) as caught:
        parse(text)
    assert str(caught.value).startswith(why)


def test_they_are_written_as_they_were_read() -> None:
    text = r"[DNSQR:qtype:1]-tamper{DNS:qd:compress}(trace{1:3},)-| \/ [DNS:qr:1:2]-tamper{DNSQR:qname:corrupt}-|"
    assert str(parse(text)) == text


@given(st.binary(max_size=60), st.sampled_from(["DNS:qd:compress", "DNS:id:corrupt", "DNSQR:qname:corrupt",
                                                "DNSQR:qtype:add:1", "DNSQR:qname:replace:a.b"]))  # fmt: skip
def test_no_message_is_too_strange(content: bytes, tamper: str) -> None:
    head = IP(src="100.64.0.10", dst="198.18.0.53") / UDP(sport=40000, dport=53)
    message(tampered(tamper, bytes(head / content)))
