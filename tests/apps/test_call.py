"""A call measured packet by packet, with literal times."""

from __future__ import annotations

import pytest

from testbed.apps.call import Party, quality
from testbed.apps.profiles import load_profile

PREFIX = bytes.fromhex(load_profile("imo").call.media)


def party_with(delays_s: dict[int, float], size: int = 1099) -> Party:
    party = Party(PREFIX, size)
    for number, delay_s in delays_s.items():
        party.receive(party.packet(number, 100 + number * 0.1), 100 + number * 0.1 + delay_s)
    return party


def test_a_packet_has_the_profiles_size_and_beginning() -> None:
    packet = Party(PREFIX, 1099).packet(7, 1.5)
    assert len(packet) == 1099
    assert packet[:4] == b"\x88\x49\x1a\x00"


def test_delay_is_half_of_there_and_back_and_jitter_is_of_rfc_3550() -> None:
    party = party_with({0: 0.2, 1: 0.2, 2: 0.264})
    assert list(party.delays.values()) == pytest.approx([0.1, 0.1, 0.132])
    assert party.jitter_s == pytest.approx(0.032 / 16)


def test_of_four_packets_out_of_a_hundred_lost_both_ways_half_were_lost_on_each() -> None:
    found = quality(party_with(dict.fromkeys(range(96), 0.2)), 100)
    assert found["loss"] == pytest.approx(0.0202, abs=1e-4)
    assert found["delay_s"] == pytest.approx(0.1)
    assert found["packets"] == 100


def test_a_good_call_and_a_bad_one() -> None:
    good = quality(party_with(dict.fromkeys(range(50), 0.04)), 50)
    bad = quality(party_with(dict.fromkeys(range(25), 1.0)), 50)
    assert good["mos"] > 4.3
    assert bad["mos"] < 2


@pytest.mark.parametrize("data", [b"", b"\x00", PREFIX, b"\x00" * 1099, PREFIX + b"\xff" * 40])
def test_what_is_no_media_packet_is_left_out(data: bytes) -> None:
    party = Party(PREFIX, 1099)
    party.receive(data, 5.0)
    assert party.delays == {}


def test_a_packet_that_comes_twice_counts_once() -> None:
    party = Party(PREFIX, 100)
    for now in (1.2, 1.4):
        party.receive(party.packet(0, 1.0), now)
    assert party.delays == {0: pytest.approx(0.1)}
