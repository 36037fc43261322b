"""The five exemptions of Wu et al. 2023, rule by rule; their examples and edges."""

from __future__ import annotations

import random

import pytest

from testbed.dpi.encrypted import entropy, exemption, mean_popcount, printable

#: three bytes with 4 bits set each, none printable: popcount 4.0
FOUR_BITS = bytes([0x0F, 0xF0, 0xE1])


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "Ex1"),
        (bytes(100), "Ex1"),
        (b"\xff" * 100, "Ex1"),
        (b"\x07\x0f\x07\x0f\x07" + b"\x83\x0f\x83\x0f\x83", "Ex1"),  # 34 bits in 10 bytes: 3.4, still exempt
        (b"\x07\x0f\x07\x0f\x0f" + b"\x83\x0f\x83\x0f\x83", None),  # 35 bits in 10 bytes
        (b"\x9f\x8f\x9f\x8f\x9f" * 2, "Ex1"),  # 5.6
        (b"\x8f\x8f\x8f\x8f\x8f" + b"\xf0\xf0\xe1\xe1\xe1", None),  # 45 bits in 10 bytes: 4.5
        (b"\x8f\x8f\x8f\x8f\x8f" + b"\x8f\xf0\xe1\xe1\xe1", "Ex1"),  # 4.6
        (b"mmmmmm" + FOUR_BITS * 20, "Ex2"),
        (b"mmmmm" + FOUR_BITS * 20, None),
        (b"mmmmm", "Ex1"),
        (b"SSSSS", "Ex3"),  # fewer than six bytes can't be six printable ones
        (FOUR_BITS * 4 + b"SSSSSSSSSSSSS", "Ex3"),
        (FOUR_BITS * 4 + b"SSSSSSSSSSSS", None),  # just half
        (FOUR_BITS * 20 + b"S" * 21, "Ex4"),
        (FOUR_BITS * 20 + b"S" * 20, None),
        (b"\x16\x03\x01" + FOUR_BITS * 30, "Ex5"),
        (b"\x17\x03\x09" + FOUR_BITS * 30, "Ex5"),
        (b"\x17\x03\x0a" + FOUR_BITS * 30, None),
        (b"\x18\x03\x01" + FOUR_BITS * 30, None),
        (b"GET " + FOUR_BITS * 30, "Ex5"),
        (b"HEAD " + FOUR_BITS * 30, "Ex5"),
        (b"GETS" + FOUR_BITS * 30, None),
    ],
)
def test_exemptions_apply_in_their_order(payload: bytes, expected: str | None) -> None:
    assert exemption(payload) == expected


def test_random_payloads_are_blocked() -> None:
    """Six printable bytes (37 % each) come by chance in 0.26 % of them, and little else lets them pass."""
    source = random.Random(1)
    rules = [exemption(source.randbytes(200)) for _ in range(2000)]
    assert 1980 <= rules.count(None) < 2000
    assert set(rules) <= {None, "Ex2", "Ex4"}


def test_counts_are_those_of_their_definitions() -> None:
    payload = random.Random(2).randbytes(1000)
    assert mean_popcount(payload) == sum(bin(byte).count("1") for byte in payload) / 1000
    assert printable(payload) == sum(0x20 <= byte <= 0x7E for byte in payload)
    assert entropy(bytes(range(256))) == 8.0
    assert entropy(b"aaaa") == 0.0
    assert entropy(b"abab") == 1.0
