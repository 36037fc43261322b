"""Reassembly against Scapy, against the published table of overlaps, and under hostile fragments."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption_NOP, IPOption_Router_Alert, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    defragment6,
    fragment6,
)
from scapy.packet import Packet, Raw

from testbed.wire import ip
from testbed.wire.fragments import FragmentKnobs, Fragments, Overlap, inserted

SRC, DST = "100.64.1.1", "198.18.0.1"


def feed(fragments: Fragments, packets: list[Packet], now: float = 0.0) -> list[bytes]:
    """Add packets and return what came out whole."""
    found = (fragments.add(ip.parse(bytes(packet)), now) for packet in packets)
    return [whole for whole in found if whole is not None]


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 60), st.randoms(use_true_random=False), st.booleans())
def test_ipv4_in_any_order_as_scapy(data: bytes, blocks: int, order: random.Random, options: bool) -> None:
    layers = IP(src=SRC, dst=DST, id=4711, ttl=9, tos=4, options=[IPOption_NOP(), IPOption_Router_Alert()] * options)
    pieces = fragment(
        layers / UDP(sport=1, dport=2) / Raw(data), fragsize=max(8 * blocks, (len(data) + 8) // 60 // 8 * 8)
    )
    expected = bytes(layers / UDP(sport=1, dport=2) / Raw(data))
    order.shuffle(pieces)
    fragments = Fragments()
    assert feed(fragments, pieces) == [expected]
    assert (len(fragments), fragments.held_bytes) == (0, 0)


@given(st.binary(min_size=1, max_size=6000), st.integers(1280, 1500), st.randoms(use_true_random=False), st.booleans())
def test_ipv6_in_any_order_as_scapy(data: bytes, size: int, order: random.Random, extended: bool) -> None:
    begin = IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=7, tc=3, fl=77)
    begin = begin / IPv6ExtHdrHopByHop() if extended else begin
    last = IPv6ExtHdrDestOpt() / UDP(sport=1, dport=2) if extended else UDP(sport=1, dport=2)
    pieces = fragment6(begin / IPv6ExtHdrFragment(id=99) / last / Raw(data), size)
    order.shuffle(pieces)
    fragments = Fragments()
    assert feed(fragments, pieces) == [bytes(begin / last / Raw(data))]
    if len(pieces) > 1:
        assert bytes(defragment6([IPv6(bytes(piece)) for piece in pieces])) == bytes(begin / last / Raw(data))


def piece(offset: int, data: bytes, more: bool = True, ident: int = 1, proto: int = 17) -> Packet:
    """An IPv4 fragment at `offset` blocks."""
    return IP(src=SRC, dst=DST, id=ident, frag=offset, flags="MF" if more else 0, proto=proto) / Raw(data)


def piece6(offset: int, data: bytes, more: bool = True, ident: int = 1) -> Packet:
    return IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrFragment(offset=offset, m=more, id=ident) / Raw(data)


def blocks(text: str) -> bytes:
    """Each letter is a block of eight bytes."""
    return b"".join(letter.encode() * 8 for letter in text)


#: Shankar and Paxson's six fragments, and what each family makes of them (Novak 2005; Snort's README.frag3)
FIGURE = [(0, "111"), (4, "22"), (6, "333"), (1, "4444"), (6, "555"), (9, "666")]
ANSWERS: dict[Overlap, str] = {
    "bsd": "111442333666",
    "bsd-right": "144422555666",
    "linux": "111442555666",
    "first-wins": "111422333666",
    "last-wins": "144442555666",
}


@pytest.mark.parametrize(("overlap", "answer"), ANSWERS.items())
def test_the_published_table_of_overlaps(overlap: Overlap, answer: str) -> None:
    fragments = Fragments(FragmentKnobs(overlap=overlap))
    packets = [piece(offset, blocks(text), more=offset != 9) for offset, text in FIGURE]
    (whole,) = feed(fragments, packets)
    assert whole[20:] == blocks(answer)


def test_the_sixth_family_gives_up() -> None:
    fragments = Fragments(FragmentKnobs(overlap="drop"))
    packets = [piece(offset, blocks(text), more=offset != 9) for offset, text in FIGURE]
    assert feed(fragments, packets) == [] and fragments.counters["overlapping"] == 1


layouts = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=8)


@given(layouts)
def test_first_and_last_byte_by_byte(layout: list[tuple[int, int]]) -> None:
    """Two families have an oracle of one line: a byte is written once, or always."""
    first, last = [0] * 15, [0] * 15
    kept: dict[Overlap, list[tuple[int, int, bytes]]] = {"first-wins": [], "last-wins": []}
    for number, (begin, size) in enumerate(layout, 1):
        for at in range(begin, begin + size):
            first[at] = first[at] or number
            last[at] = number
        for overlap, pieces in kept.items():
            kept[overlap] = inserted(pieces, (begin, begin + size, bytes([number] * size)), overlap)
    for overlap, model in (("first-wins", first), ("last-wins", last)):
        seen = [0] * 15
        for begin, end, data in kept[overlap]:
            assert seen[begin:end] == [0] * (end - begin)
            seen[begin:end] = data
        assert seen == model


@given(layouts, st.sampled_from(sorted(ANSWERS)))
def test_pieces_stay_disjoint_and_miss_nothing(layout: list[tuple[int, int]], overlap: Overlap) -> None:
    pieces: list[tuple[int, int, bytes]] = []
    for begin, size in layout:
        pieces = inserted(pieces, (begin, begin + size, bytes(size)), overlap)
    assert all(end - begin == len(data) > 0 for begin, end, data in pieces)
    assert all(one[1] <= other[0] for one, other in pairwise(pieces))
    covered = {at for begin, size in layout for at in range(begin, begin + size)}
    assert {at for begin, end, _ in pieces for at in range(begin, end)} == covered


@pytest.mark.parametrize("make", [piece, piece6])
def test_rfc_5722_an_overlap_ends_the_packet_and_a_duplicate_does_not(make: type[Packet]) -> None:
    spec = FragmentKnobs(overlap="drop")
    fragments = Fragments(spec)
    assert len(feed(fragments, [make(0, blocks("ab")), make(0, blocks("ab")), make(2, b"end", more=False)])) == 1
    later = [make(0, blocks("ab")), make(1, blocks("xy")), make(3, b"end", more=False), make(0, blocks("abc"))]
    assert feed(fragments, later) == []
    assert fragments.counters["overlapping"] == 1 and fragments.held_bytes == 0
    assert len(feed(fragments, [make(0, blocks("ab")), make(2, b"end", more=False)], now=61)) == 1


def test_atomic_fragments_stand_alone() -> None:
    layers = IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrHopByHop()
    inner = UDP(sport=1, dport=2) / Raw(b"data")
    fragments = Fragments()
    assert feed(fragments, [layers / IPv6ExtHdrFragment(id=1) / inner]) == [bytes(layers / inner)]
    assert len(fragments) == 0
    whole = bytes(IP(src=SRC, dst=DST, chksum=1) / inner)
    assert fragments.add(ip.parse(whole), 0) == whole
    assert feed(fragments, [layers / inner]) == [bytes(layers / inner)]


@pytest.mark.parametrize(("make", "lasts"), [(piece, 30.0), (piece6, 60.0)])
def test_what_waits_too_long_goes(make: type[Packet], lasts: float) -> None:
    fragments = Fragments()
    assert feed(fragments, [make(0, blocks("a"))], now=100.0) == []
    assert feed(fragments, [make(1, b"b", more=False)], now=100.0 + lasts) == []
    assert fragments.counters["expired"] == 1 and len(fragments) == 1
    assert feed(fragments, [make(0, blocks("a"))], now=100.0 + lasts + 1)


def test_a_slow_v6_packet_does_not_keep_v4_waiting() -> None:
    fragments = Fragments()
    feed(fragments, [piece6(0, blocks("a")), piece(0, blocks("a"))])
    assert feed(fragments, [piece(1, b"b", more=False)], now=31.0) == []
    assert fragments.counters["expired"] == 1


def test_room_is_made_by_the_oldest() -> None:
    fragments = Fragments(FragmentKnobs(most_packets=2))
    feed(fragments, [piece(0, blocks("a"), ident=ident) for ident in (1, 2, 3)])
    assert (len(fragments), fragments.counters["evicted"]) == (2, 1)
    assert feed(fragments, [piece(1, b"z", more=False, ident=ident) for ident in (3, 2)])
    fragments = Fragments(FragmentKnobs(most_bytes=100))
    feed(fragments, [piece(0, bytes(48), ident=ident) for ident in (1, 2, 3)])
    assert (fragments.held_bytes, fragments.counters["evicted"]) == (96, 1)


def test_fragments_that_no_host_takes() -> None:
    fragments = Fragments(FragmentKnobs(smallest_first_bytes=16, most_fragments=3))
    assert feed(fragments, [piece(0, bytes(8))]) == []
    assert feed(fragments, [piece(8189, bytes(64), ident=2)]) == []
    assert feed(fragments, [piece(2, blocks("abc"), False, 3), piece(1, blocks("x"), False, 3)]) == []
    assert feed(fragments, [piece(5, blocks("abc"), True, 4), piece(1, b"end", False, 4)]) == []
    assert fragments.counters["refused"] == 4
    assert feed(fragments, [piece(at, blocks("x"), at < 4, ident=5) for at in range(2, 5)]) == []
    assert feed(fragments, [piece(0, blocks("xx"), ident=5)]) == [] and fragments.counters["refused"] == 5


def test_an_odd_length_is_cut_down_in_ipv4_and_refused_in_ipv6() -> None:
    fragments = Fragments()
    (whole,) = feed(fragments, [piece(0, b"12345678odd"), piece(1, b"end", more=False)])
    assert whole[20:] == b"12345678end"
    assert feed(fragments, [piece6(0, b"12345678odd"), piece6(1, b"end", more=False)]) == []


def test_a_fragment_that_is_not_all_there_is_refused() -> None:
    fragments = Fragments()
    for raw in (bytes(piece(0, blocks("ab"))), bytes(piece6(0, blocks("ab")))):
        assert fragments.add(ip.parse(raw[:-3], cut=True), 0) is None
    assert (fragments.counters["refused"], len(fragments)) == (2, 0)


def test_what_belongs_together() -> None:
    fragments = Fragments()
    other = piece(1, b"x", more=False)
    other[IP].src = "100.64.1.2"
    packets = [piece(0, blocks("a")), piece(1, b"x", more=False, proto=6), piece(1, b"x", more=False, ident=2), other]
    assert feed(fragments, packets) == [] and len(fragments) == 4


wild = st.builds(
    lambda six, offset, size, more, ident: bytes(
        (piece6 if six else piece)(offset, bytes(size), more=more, ident=ident)
    ),
    st.booleans(), st.integers(0, 8191) | st.integers(0, 4), st.integers(0, 60), st.booleans(), st.integers(0, 3),
)  # fmt: skip


@given(st.lists(st.tuples(wild, st.floats(0, 100)), max_size=25), st.sampled_from([*sorted(ANSWERS), "drop"]))
def test_anything_stays_within_bounds(packets: list[tuple[bytes, float]], overlap: Overlap) -> None:
    spec = FragmentKnobs(overlap=overlap, overlap_v6=overlap, most_packets=3, most_bytes=150, most_fragments=4)
    fragments = Fragments(spec)
    now = 0.0
    for raw, later in packets:
        now += later
        whole = fragments.add(ip.parse(raw), now)
        if whole is not None:
            assert not ip.parse(whole).is_fragment and ip.parse(whole).total_len == len(whole)
        assert len(fragments) <= 3 and 0 <= fragments.held_bytes <= 150
