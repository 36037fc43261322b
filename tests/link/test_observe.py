"""What two captures tell about a link: who crossed, who was dropped, and how late."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.link.observe import Crossing, Frame, counters, crossings, departures, oversize
from testbed.link.spec import DirectionSpec


def ip(number: int, size: int = 1000) -> bytes:
    return b"\x45\x00" + size.to_bytes(2, "big") + number.to_bytes(2, "big") + bytes(14)


def frame(when: float, head: bytes, size: int = 1000) -> Frame:
    return Frame(when, head, size)


def spec(**data: Any) -> DirectionSpec:
    return DirectionSpec.model_validate(data)


def test_a_packet_goes_from_the_port_that_saw_it_first() -> None:
    inside = [frame(1.0, ip(1)), frame(2.5, ip(2)), frame(3.0, ip(3))]
    outside = [frame(1.5, ip(1)), frame(2.0, ip(2))]
    assert crossings(inside, outside) == [
        Crossing(0, 1000, 1.0, 1.5), Crossing(1, 1000, 2.0, 2.5), Crossing(0, 1000, 3.0, None),
    ]  # fmt: skip


def test_equal_packets_are_paired_in_order() -> None:
    inside, outside = [frame(1.0, ip(1)), frame(1.1, ip(1))], [frame(1.2, ip(1)), frame(1.4, ip(1))]
    assert [(c.entered, c.left) for c in crossings(inside, outside)] == [(1.0, 1.2), (1.1, 1.4)]


def test_arp_and_neighbour_discovery_do_not_count() -> None:
    six = bytes([0x60, 0, 0, 0, 0, 24, 58, 255])
    solicitation = six + bytes(16) + b"\xff\x02" + bytes(14) + bytes([135])
    advertisement = six + bytes(16) + b"\x20\x01" + bytes(14) + bytes([136])
    echo = six + bytes(16) + b"\x20\x01" + bytes(14) + bytes([128])
    arp = bytes(28)
    inside = [frame(number, head) for number, head in enumerate((arp, solicitation, advertisement, echo))]
    assert [c.entered for c in crossings(inside, [])] == [3]


def test_the_ideal_is_the_models_for_those_that_were_not_dropped() -> None:
    crossed = [Crossing(0, 1250, 0.0, 0.011), Crossing(0, 1250, 0.0, None), Crossing(0, 1250, 0.0, 0.020)]
    found = departures(crossed, spec(rate="1 Mbit/s", queue="1 ms"))
    assert [(round(d.due, 9), d.actual) for d in found] == [(0.010, 0.011), (0.020, 0.020)]


def test_with_jitter_the_latest_moment_counts() -> None:
    (found,) = departures([Crossing(0, 100, 0.0, 0.018)], spec(delay="20 ms", jitter="5 ms", reorder=True))
    assert found.due == pytest.approx(0.025)


def test_what_the_queue_dropped_is_not_called_lost_nor_what_may_be_on_its_way() -> None:
    crossed = [Crossing(0, 1000, float(n), n + 0.1 if n % 10 else None) for n in range(100)]
    crossed.append(Crossing(0, 1000, 99.1, None))  # 0.5 s queue, 0.5 s grace: too young to be called lost
    found = counters(crossed, spec(rate="1 Mbit/s", loss="5 %"), overflowed=4)
    assert (found["entered"], found["overflowed"], found["lost"]) == (100, 4, 6)
    assert found["lost_expected"] == pytest.approx(96 * 0.05)


def test_super_packets_are_counted() -> None:
    assert oversize([frame(0, ip(1), 1500)], [frame(0, ip(2), 1501)]) == 1
