"""What two hosts agreed on, as a socket that stands in for one of them needs it (linux/tcp.h, RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import TCP

from testbed.middlebox.repair import End, Hello, agreed
from testbed.wire import tcp

FULL = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 10)]
MSS, SCALE, SACK, TIMESTAMPS = 2, 3, 4, 8


def end(options: list[tuple[str, object]]) -> End:
    segment = tcp.parse(memoryview(bytes(TCP(flags="S", options=options))))
    return End(b"\xc6\x12\0\x01", 443, Hello.of(segment), 1, None, 65535)


def found(mine: list[tuple[str, object]], theirs: list[tuple[str, object]]) -> dict[int, int]:
    pairs = struct.iter_unpack("=II", agreed(end(mine), end(theirs)))
    return dict(pairs)


def test_each_side_scales_by_what_the_other_one_said() -> None:
    theirs = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (9, 7)), ("WScale", 7)]
    assert found(FULL, theirs) == {MSS: 1400, SCALE: 7 | 10 << 16, SACK: 0, TIMESTAMPS: 0}
    assert found(theirs, FULL) == {MSS: 1460, SCALE: 10 | 7 << 16, SACK: 0, TIMESTAMPS: 0}


@pytest.mark.parametrize("left_out", ["SAckOK", "Timestamp", "WScale"])
def test_what_one_side_did_not_offer_is_not_agreed_on(left_out: str) -> None:
    less = [option for option in FULL if option[0] != left_out]
    kind = {"SAckOK": SACK, "Timestamp": TIMESTAMPS, "WScale": SCALE}[left_out]
    assert kind in found(FULL, FULL)
    assert kind not in found(FULL, less)
    assert kind not in found(less, FULL)


def test_without_options_the_smallest_segment_counts() -> None:
    assert found([], []) == {MSS: 536}


def test_a_scale_above_the_largest_is_taken_for_it() -> None:
    wild: list[tuple[str, object]] = [("WScale", 200)]
    assert found(wild, wild)[SCALE] == 14 | 14 << 16
