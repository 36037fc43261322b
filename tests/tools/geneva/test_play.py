"""The player against Geneva's published behaviour (golden bytes of its own tests) and against Scapy as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from testbed.tools.geneva import Play, apply
from tests.tools.geneva.published import PUBLISHED

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)) + b"twitter.com"


def tcp(load: bytes = HELLO, flags: str = "PA", **fields: Any) -> Packet:
    """Return a packet as a Linux client sends it: timestamps, DF, an ID."""
    options = [("NOP", None), ("NOP", None), ("Timestamp", (1000, 2000))]
    given = {"sport": 40000, "dport": 443, "seq": 1000, "ack": 5000, "window": 502, **fields}
    head = IP(src="100.64.0.10", dst="198.18.0.80", id=0x1234, flags="DF", ttl=64)
    packet: Packet = IP(bytes(head / TCP(flags=flags, options=options, **given) / Raw(load)))
    return packet


def read(raw: bytes) -> Packet:
    packet: Packet = IP(raw)
    return packet


def load_of(packet: Packet) -> bytes:
    return bytes(packet[TCP].payload)


def rebuilt(packet: Packet, *forget: tuple[Any, str]) -> bytes:
    """Return the packet's bytes with checksums by Scapy."""
    for layer, field in ((IP, "chksum"), *forget):
        packet[layer].delfieldval(field)
    return bytes(packet)


def assert_sound(raw: bytes) -> None:
    """Checksums and lengths are what Scapy makes them."""
    packet = read(raw)
    fresh = read(raw)
    forget = [(IP, "len"), (TCP, "chksum")] if TCP in fresh else [(IP, "len")]
    assert rebuilt(fresh, *forget) == bytes(packet)


@pytest.mark.parametrize(
    ("strategy", "loads", "sequence"),
    [
        ("[TCP:flags:PA]-fragment{tcp:8:True}-|", [HELLO[:8], HELLO[8:]], [1000, 1008]),
        ("[TCP:flags:PA]-fragment{tcp:8:False}-|", [HELLO[8:], HELLO[:8]], [1008, 1000]),
        ("[TCP:flags:PA]-fragment{tcp:-1:True}-|", [HELLO[:43], HELLO[43:]], [1000, 1043]),
        ("[TCP:flags:PA]-fragment{tcp:500:True}-|", [HELLO[:43], HELLO[43:]], [1000, 1043]),
        ("[TCP:flags:PA]-fragment{tcp:8:True:4}-|", [HELLO[:12], HELLO[8:]], [1000, 1008]),
        (
            "[TCP:flags:PA]-fragment{tcp:8:True}(,fragment{tcp:4:True})-|",
            [HELLO[:8], HELLO[8:12], HELLO[12:]],
            [1000, 1008, 1012],
        ),
    ],
)
def test_segments(strategy: str, loads: list[bytes], sequence: list[int]) -> None:
    sent = apply(strategy, bytes(tcp()))
    assert [load_of(read(raw)) for raw in sent] == loads
    assert [read(raw)[TCP].seq for raw in sent] == sequence
    for raw in sent:
        assert_sound(raw)


def test_sequence_numbers_wrap() -> None:
    for start, expected in (
        (2**32 - 2, 0),
        (2**32 - 1, 1),
        (2**32 - 3, 2**32 - 1),
    ):  # golden: Geneva's test_segment_wrap*
        sent = apply("[TCP:flags:PA]-fragment{tcp:-1:True}-|", bytes(tcp(b"data", seq=start)))
        assert [read(raw)[TCP].seq for raw in sent] == [start, expected]


def test_overlap_as_in_genevas_own_test() -> None:
    sent = apply("[TCP:flags:PA]-fragment{tcp:-1:True:4}-|", bytes(tcp(b"datadata11datadata", seq=100)))
    assert [load_of(read(raw)) for raw in sent] == [b"datadata11dat", b"1datadata"]
    assert [read(raw)[TCP].seq for raw in sent] == [100, 109]


#: golden: test_odd_fragment and test_custom_fragment of Geneva, bytes behind the IP header
FRAGMENTS = [
    ("-1", b"dataisodd", b"\x08\xae\r\x05\x00\x00\x00d", b"\x00\x00\x00dP\x02 \x00e\xc1\x00\x00dataisodd"),
    ("3", b"thisissomedata", b"\x08\xae\r\x05\x00\x00\x00d\x00\x00\x00dP\x02 \x00zp\x00\x00this", b"issomedata"),
]


@pytest.mark.parametrize(("offset", "load", "first", "second"), FRAGMENTS)
@pytest.mark.parametrize("in_order", [True, False])
def test_ip_fragments(offset: str, load: bytes, first: bytes, second: bytes, in_order: bool) -> None:
    head = IP(src="127.0.0.1", dst="127.0.0.1", id=7)
    raw = bytes(head / TCP(sport=2222, dport=3333, seq=100, ack=100, flags="S") / Raw(load))
    sent = apply(f"[TCP:flags:S]-fragment{{ip:{offset}:{in_order}}}-|", raw)
    parts = sent if in_order else sent[::-1]
    assert [raw[20:] for raw in parts] == [first, second]
    joined = 2 if offset == "-1" else 0  # three fragments, the last two in one: Geneva sets DF
    assert [(int(read(raw).flags), read(raw).frag, read(raw).id) for raw in parts] == [
        (1, 0, 7),
        (joined, len(first) // 8, 7),
    ]
    for raw in parts:
        assert rebuilt(read(raw), (IP, "len")) == raw


@pytest.mark.parametrize(
    "packet",
    [tcp(b"", "S"), IP(bytes(IP(src="198.18.0.1", dst="198.18.0.2") / UDP(sport=1, dport=53) / Raw(b"x" * 20)))],
)
def test_what_can_not_be_segmented_is_doubled(packet: Packet) -> None:
    raw = bytes(packet)
    assert apply("[IP:version:4]-fragment{tcp:-1:True}-|", raw) == [raw, raw]


TAMPERS: list[tuple[str, Any, str, Any]] = [
    ("TCP:flags:replace:R", TCP, "flags", "R"), ("TCP:flags:replace:FRAPUEN", TCP, "flags", "FRAPUEN"),
    ("TCP:flags:replace:", TCP, "flags", 0), ("TCP:seq:add:10", TCP, "seq", 1010),
    ("TCP:ack:add:-5001", TCP, "ack", 2**32 - 1),
    ("TCP:dataofs:replace:10", TCP, "dataofs", 10), ("TCP:window:replace:10", TCP, "window", 10),
    ("TCP:urgptr:replace:7", TCP, "urgptr", 7), ("TCP:dport:replace:80", TCP, "dport", 80),
    ("TCP:reserved:replace:5", TCP, "reserved", 5), ("IP:ttl:replace:8", IP, "ttl", 8),
    ("IP:tos:replace:32", IP, "tos", 32),
    ("IP:id:replace:3333", IP, "id", 3333), ("IP:flags:replace:MF", IP, "flags", "MF"),
    ("IP:frag:replace:100", IP, "frag", 100),
    ("IP:len:replace:64", IP, "len", 64), ("IP:src:replace:198.18.9.9", IP, "src", "198.18.9.9"),
    ("IP:proto:replace:125", IP, "proto", 125), ("IP:ihl:replace:6", IP, "ihl", 6),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "layer", "field", "value"), TAMPERS, ids=[tamper for tamper, *_ in TAMPERS])
def test_tampering_is_what_scapy_does(tamper: str, layer: Any, field: str, value: Any) -> None:
    raw = bytes(tcp())
    expected = read(raw)
    setattr(expected[layer], field, value)
    expected[IP].delfieldval("chksum")
    expected[TCP].delfieldval("chksum")
    assert apply(f"[TCP:flags:PA]-tamper{{{tamper}}}-|", raw) == [bytes(expected)]


@pytest.mark.parametrize(
    ("tamper", "option"),
    [
        ("TCP:options-mss:replace:536", ("MSS", 536)), ("TCP:options-wscale:replace:7", ("WScale", 7)),
        ("TCP:options-sackok:replace:", ("SAckOK", b"")), ("TCP:options-uto:replace:9", ("UTO", 9)),
        ("TCP:options-md5header:replace:" + "ab" * 16, (19, b"\xab" * 16)),
    ],
)  # fmt: skip
def test_options_are_added_as_scapy_adds_them(tamper: str, option: Any) -> None:
    raw = bytes(tcp())
    expected = read(raw)
    expected[TCP].options = [*expected[TCP].options, option]
    for layer, field in ((IP, "len"), (TCP, "chksum"), (TCP, "dataofs")):
        expected[layer].delfieldval(field)
    assert apply(f"[TCP:flags:PA]-tamper{{{tamper}}}-|", raw) == [rebuilt(expected)]


def test_options_written_one_after_the_other_stand_before_the_padding() -> None:
    """Behind the zeros no host reads on."""
    written = "tamper{TCP:options-md5header:replace:" + "ab" * 16 + "}(tamper{TCP:options-mss:replace:536},)"
    (sent,) = apply(f"[TCP:flags:S]-{written}-|", bytes(IP(dst="198.18.0.80") / TCP(flags="S")))
    assert read(sent)[TCP].options[:2] == [("MD5", b"\xab" * 16), ("MSS", 536)]


def test_an_option_that_is_there_is_replaced() -> None:
    (sent,) = apply("[TCP:flags:PA]-tamper{TCP:options-timestamp:replace:5}-|", bytes(tcp()))
    assert dict(read(sent)[TCP].options)["Timestamp"] == (5, 0)


def test_a_load_is_replaced_and_its_length_follows() -> None:
    (sent,) = apply("[TCP:flags:PA]-tamper{TCP:load:replace:GET%20/%0d%0a}-|", bytes(tcp()))
    assert load_of(read(sent)) == b"GET /\r\n"
    assert_sound(sent)


def test_a_bad_checksum_stays_and_comes_after_the_rest() -> None:
    strategy = "[TCP:flags:PA]-duplicate(tamper{TCP:dataofs:replace:10}(tamper{TCP:chksum:replace:1},),)-|"
    bad, good = apply(strategy, bytes(tcp()))
    assert (read(bad)[TCP].chksum, read(bad)[TCP].dataofs) == (1, 10)
    assert good == bytes(tcp())


def test_corrupt_is_repeatable_and_never_what_was() -> None:
    raw = bytes(tcp())
    strategy = "[TCP:flags:PA]-tamper{TCP:chksum:corrupt}-|"
    assert apply(strategy, raw, seed=3) == apply(strategy, raw, seed=3)
    drawn = {read(apply(strategy, raw, seed=seed)[0])[TCP].chksum for seed in range(64)}
    assert len(drawn) > 32
    assert read(raw)[TCP].chksum not in drawn


def test_order_is_left_then_right() -> None:
    left = "duplicate(tamper{IP:ttl:replace:1},tamper{IP:ttl:replace:2})"
    strategy = f"[TCP:flags:PA]-duplicate({left},tamper{{IP:ttl:replace:3}})-|"
    assert [read(raw).ttl for raw in apply(strategy, bytes(tcp()))] == [1, 2, 3]


def test_every_tree_that_fires_gets_a_fresh_packet() -> None:
    strategy = "[TCP:flags:PA]-tamper{IP:ttl:replace:1}-| [TCP:dport:443]-| [TCP:dport:80]-drop-|"
    assert [read(raw).ttl for raw in apply(strategy, bytes(tcp()))] == [1, 64]


def test_gas_is_spent_and_bombs_wait() -> None:
    raw = bytes(tcp())
    dropped: list[bytes] = []
    passed = [raw]
    twice = Play("[TCP:flags:PA:2]-drop-|")
    assert [[e.raw for e in twice.handle(raw)] for _ in range(4)] == [dropped, dropped, passed, passed]
    bomb = Play("[TCP:flags:PA:-2]-drop-|")
    assert [[e.raw for e in bomb.handle(raw)] for _ in range(4)] == [passed, passed, dropped, dropped]


def test_directions_have_their_own_forests() -> None:
    play = Play(r"[TCP:flags:PA]-drop-| \/ [TCP:flags:R]-drop-|")
    assert play.handle(bytes(tcp()), "out") == []
    assert [e.raw for e in play.handle(bytes(tcp()), "in")] == [bytes(tcp())]
    assert play.handle(bytes(tcp(b"", "R")), "in") == []


def test_sleep_delays_one_packet() -> None:
    sent = Play("[TCP:flags:PA]-fragment{tcp:8:True}(,sleep{0.5})-|").handle(bytes(tcp()))
    assert [e.delay_s for e in sent] == [0.0, 0.5]


def test_a_copy_does_not_sleep() -> None:
    """Nor do the parts of what was to; golden: Geneva's `Packet.copy` and its fragments."""

    def delays(actions: str, packet: Packet) -> list[float]:
        return [e.delay_s for e in Play(f"[IP:version:4]-{actions}-|").handle(bytes(packet))]

    assert delays("sleep{2}(duplicate(duplicate,),)", tcp()) == [2.0, 0.0, 0.0]
    assert delays("sleep{2}(fragment{tcp:8:True},)", tcp()) == delays("sleep{2}(fragment{ip:3:True},)", tcp()) == [0, 0]
    assert delays("sleep{2}(fragment{tcp:8:False},)", tcp(b"")) == [2.0, 0.0]


def test_a_packet_without_a_payload_is_not_fragmented() -> None:
    raw = bytes(tcp(b"", "S"))
    assert apply("[TCP:flags:S]-fragment{ip:1:True}-|", raw) == [raw, raw]


TRIGGERS = {
    "TCP:flags:PA": True, "TCP:flags:AP": True, "TCP:flags:A": False, "TCP:flags:A*": True, "TCP:dport:443": True,
    "TCP:load:": False, "TCP:load:twitter*": True, "TCP:load:facebook*": False, "TCP:options-mss:": True,
    "TCP:options-timestamp:1000": True, "IP:src:100.64.0.10": True, "IP:flags:DF": True, "UDP:dport:443": False,
    "IP:src:100.64*": True, "IP:frag:0": True,
}  # fmt: skip


@pytest.mark.parametrize(("trigger", "fires"), TRIGGERS.items())
def test_triggers(trigger: str, fires: bool) -> None:
    assert (apply(f"[{trigger}]-drop-|", bytes(tcp())) == []) is fires


def test_tcp_over_ipv6_is_segmented_too() -> None:
    raw = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=1, dport=443, flags="PA") / Raw(HELLO))
    sent = [IPv6(each) for each in apply("[TCP:flags:PA]-fragment{tcp:8:True}-|", raw)]
    assert b"".join(load_of(each) for each in sent) == HELLO
    for each in sent:
        fresh = IPv6(bytes(each))
        fresh.delfieldval("plen")
        fresh[TCP].delfieldval("chksum")
        assert bytes(fresh) == bytes(each)


@given(st.integers(0, 100), st.booleans(), st.binary(min_size=1, max_size=100))
def test_segments_put_together_are_the_packet(offset: int, in_order: bool, load: bytes) -> None:
    sent = [read(raw) for raw in apply(f"[TCP:flags:PA]-fragment{{tcp:{offset}:{in_order}}}-|", bytes(tcp(load)))]
    assert b"".join(load_of(packet)[: len(load)] for packet in sorted(sent, key=lambda p: p[TCP].seq)) == load


@given(
    st.sampled_from(PUBLISHED), st.one_of(st.binary(max_size=80), st.integers(0, 100).map(lambda n: bytes(tcp())[:n]))
)
def test_no_packet_is_too_strange(strategy: str, raw: bytes) -> None:
    for emitted in Play(strategy).handle(raw, "out"):
        assert isinstance(emitted.raw, bytes)


@given(
    st.sampled_from(PUBLISHED), st.sampled_from(["S", "A", "PA", "SA", "R"]), st.binary(max_size=40), st.integers(0, 9)
)
def test_published_strategies_can_be_played(strategy: str, flags: str, load: bytes, seed: int) -> None:
    for raw in apply(strategy, bytes(tcp(load, flags)), seed=seed):
        assert len(raw) >= 20
