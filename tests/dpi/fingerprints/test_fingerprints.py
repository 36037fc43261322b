"""The table of fingerprints: bounds, order, hostile bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.dpi.fingerprints import (
    FINGERPRINTS,
    PROTOCOLS,
    UNDECIDED,
    Finding,
    Opening,
    look,
    packets_wanted,
    recognise,
    undecided,
)  # fmt: skip
from testbed.dpi.fingerprints.opening import ICMP, ICMPV6, TCP, UDP
from tests.dpi.fingerprints.flows import tcp_flow, udp_flow

BYTES = st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=4).map(lambda start: start + bytes(40)))
PACKETS = st.lists(st.tuples(st.booleans(), BYTES), max_size=26)


@given(st.sampled_from((TCP, UDP, ICMP, ICMPV6)), st.integers(0, 65535), PACKETS)
def test_hostile_bytes_never_raise(proto: int, port: int, packets: list[tuple[bool, bytes]]) -> None:
    opening = Opening(proto, 40000, port, most=packets_wanted())
    for number, (from_client, payload) in enumerate(packets):
        opening.show(from_client, payload, float(number))
        for recogniser in PROTOCOLS.values():
            recogniser(opening)
        assert isinstance(look(opening), Finding | type(UNDECIDED) | None)


@pytest.mark.parametrize("proto", [TCP, UDP, ICMP])
def test_random_payloads_have_no_label_but_that(proto: int) -> None:
    """A random flow of 24 packets is random, and nothing else: 600 flows a transport."""
    source, labels = random.Random(3), set[str]()
    for _ in range(600):
        opening = Opening(proto, 40000, source.randrange(1, 65536), most=packets_wanted())
        for number in range(24):
            opening.show(source.random() < 0.5, source.randbytes(source.randrange(24, 1400)), number / 100)
            found = recognise(opening)
            if found is not None:
                labels.add(found.protocol)
                break
    assert labels == {TCP: {"fully-encrypted"}, UDP: {"random-udp"}, ICMP: set()}[proto]


def test_an_opening_is_bounded_and_joins_streams() -> None:
    opening = Opening(TCP, 1, 2, most=3)
    assert opening.show(True, memoryview(b"ab"), 0.0)
    assert opening.show(True, b"", 0.0)
    assert opening.show(False, b"x" * 3000, 0.1)
    assert opening.client_bytes == b"ab"
    assert not opening.show(True, b"cd", 0.2)
    assert not opening.show(True, b"ef", 0.3)
    assert opening.client_bytes == b"abcd"
    assert opening.server_bytes == b"x" * 2048
    assert [packet.length for packet in opening.packets] == [2, 3000, 2]
    assert opening.full


def test_a_stream_has_no_hole_where_a_packet_was_cut() -> None:
    opening = Opening(TCP, 1, 2)
    opening.show(True, b"a" * 2049, 0.0)
    opening.show(True, b"b", 0.1)
    assert opening.client_bytes == b"a" * 2048


@pytest.mark.parametrize("start", [0, 2**32 - 3])
def test_a_stream_has_each_byte_once(start: int) -> None:
    """Segments sent again, whole or with more behind them, and an old one that comes late."""
    opening = Opening(TCP, 1, 2)
    for offset, segment in ((0, b"abc"), (0, b"abc"), (1, b"bcde"), (5, b"f"), (0, b"abcdef"), (6, b"gh")):
        opening.show(True, segment, 0.0, seq=(start + offset) & 0xFFFFFFFF)
    assert opening.client_bytes == b"abcdefgh"
    assert [packet.length for packet in opening.packets] == [3, 2, 1, 2]


def test_without_sequence_numbers_a_repeated_segment_is_left_out() -> None:
    opening = Opening(TCP, 1, 2)
    for segment in (b"abc", b"abc", b"d", b"d", b"ef"):
        opening.show(True, segment, 0.0)
    assert opening.client_bytes == b"abcddef"


def test_only_what_is_wanted_is_looked_for() -> None:
    opening = tcp_flow((">", b"SSH-2.0-OpenSSH_9.2p1\r\n"))
    assert recognise(opening, ["tls", "http"]) is None
    assert recognise(opening, {"ssh"}) == recognise(opening) == Finding("ssh", PROTOCOLS["ssh"](opening))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no such fingerprint: sssh; there are wireguard"):
        recognise(opening, ["sssh"])


def test_a_flow_of_another_protocol_is_given_up_at_once() -> None:
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(190)
    assert not undecided(tcp_flow((">", hello)), frozenset({"openvpn", "ssh", "socks5", "wireguard"}))
    assert undecided(tcp_flow((">", b"S")), frozenset({"ssh"}))
    assert undecided(Opening(TCP), frozenset({"ssh"}))
    assert not undecided(udp_flow((">", b"\x01\x02\x03")), frozenset({"fastd"}))


def test_every_kind_is_a_fingerprint_that_comes_later() -> None:
    names = list(PROTOCOLS)
    assert len(names) == len(FINGERPRINTS)
    for one in FINGERPRINTS:
        assert one.kind is None or names.index(one.kind) > names.index(one.name)


def test_the_page_tells_every_fingerprint_and_its_kind() -> None:
    page = (Path(__file__).parents[3] / "docs" / "fingerprints.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    told = [(row[1].strip(" `"), row[4].strip(" `") or None) for row in rows]
    assert told == [(one.name, one.kind) for one in FINGERPRINTS]
