"""The link model against arithmetic done by hand: when each packet arrives, what is dropped, and that it repeats."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.link.model import Chance, Dropped, LinkModel
from testbed.link.spec import DirectionSpec

NOON = 43200.0


def model(seed: int = 1, **spec: Any) -> LinkModel[int]:
    return LinkModel(DirectionSpec.model_validate(spec), seed=seed)


def arrivals(link: LinkModel[int], until: float = math.inf) -> list[tuple[float, int]]:
    """Walk from event to event, as the pipe does."""
    found: list[tuple[float, int]] = []
    while (when := link.next_due()) is not None and when <= until:
        found += link.due(when)
    return found


def test_a_packet_takes_its_size_in_ip_bytes_over_the_rate_and_the_delay() -> None:
    link = model(rate="0.5 Mbit/s", delay="102.5 ms")
    assert link.enqueue(1500, 7, NOON) is None
    ((when, item),) = arrivals(link)
    assert item == 7
    assert when - NOON == pytest.approx(1500 * 8 / 5e5 + 0.1025)  # 24 ms on the wire


def test_packets_are_sent_one_after_the_other() -> None:
    link = model(rate="1 Mbit/s")
    for item, size in enumerate((1250, 125, 500)):
        link.enqueue(size, item, NOON)
    assert [(round(when - NOON, 9), item) for when, item in arrivals(link)] == [(0.010, 0), (0.011, 1), (0.015, 2)]


def test_a_link_that_was_idle_starts_at_the_arrival() -> None:
    link = model(rate="1 Mbit/s")
    link.enqueue(1250, 0, NOON)
    link.enqueue(1250, 1, NOON + 5)
    assert [round(when - NOON, 9) for when, _ in arrivals(link)] == [0.010, 5.010]


def test_without_a_rate_only_the_delay_counts() -> None:
    link = model(delay="20 ms")
    for item in range(3):
        link.enqueue(1500, item, NOON + item)
    assert [round(when - NOON, 9) for when, _ in arrivals(link)] == [0.020, 1.020, 2.020]


def test_who_asks_late_gets_the_same_moments() -> None:
    one, other = model(rate="1 Mbit/s", delay="5 ms"), model(rate="1 Mbit/s", delay="5 ms")
    seen: list[tuple[float, int]] = []
    for item in range(20):
        for link in (one, other):
            link.enqueue(100 + item, item, NOON + item * 0.001)
        seen += one.due(NOON + item * 0.001)
    assert 0 < len(seen) < 20
    assert seen + arrivals(one) == other.due(NOON + 60)


def test_the_tail_is_dropped_beyond_a_bound_in_bytes() -> None:
    link = model(rate="8 kbit/s", queue="3000 B")
    fates = [link.enqueue(1000, item, NOON) for item in range(6)]  # one on the wire, three wait
    assert fates == [None, None, None, None, Dropped.QUEUE_FULL, Dropped.QUEUE_FULL]
    assert link.enqueue(1000, 9, NOON + 1.0) is None  # one was sent: there is room for one more
    assert link.counters.overflowed == 2
    assert len(arrivals(link)) == 5


def test_the_bound_in_time_is_what_takes_so_long_to_send() -> None:
    link = model(rate="80 kbit/s", queue="500 ms")  # 5000 bytes
    assert [link.enqueue(1000, item, NOON) for item in range(7)].count(Dropped.QUEUE_FULL) == 1
    assert link.waiting_bytes(NOON) == 5000


@pytest.mark.parametrize("bound", ["1 ms", "1 B", "0 s"])
def test_one_packet_may_always_wait(bound: str) -> None:
    link = model(rate="1 kbit/s", queue=bound)
    assert [link.enqueue(1500, item, NOON) for item in range(3)] == [None, None, Dropped.QUEUE_FULL]
    assert [round(when - NOON) for when, _ in arrivals(link)] == [12, 24]


EVENING: dict[str, Any] = {"rate": "500 kbit/s", "by_clock": [{"from": "19:00", "to": "24:00", "rate": "40 kbit/s"}]}
SEVEN = 19 * 3600.0


def test_a_packet_on_the_wire_when_the_hour_changes_goes_on_at_the_new_rate() -> None:
    link = model(**EVENING)
    link.enqueue(1000, 0, SEVEN - 0.008)  # 8000 bits: 4000 go at 500 kbit/s, 4000 at 40 kbit/s
    ((when, _),) = arrivals(link)
    assert when - SEVEN == pytest.approx(0.100)


def test_what_waits_when_the_hour_changes_goes_at_the_new_rate() -> None:
    link = model(**EVENING)
    link.enqueue(1000, 0, 86400 - 0.1)  # 40 kbit/s for 0.1 s: 4000 bits; the other 4000 after midnight in 8 ms
    link.enqueue(1000, 1, 86400 - 0.1)
    assert [round(when - 86400, 9) for when, _ in arrivals(link)] == [0.008, 0.024]


def test_hours_over_midnight_and_several_turns_in_one_packet() -> None:
    hours = [{"from": "23:59", "to": "00:01", "rate": "80 bit/s"}]
    link = model(rate="8 bit/s", by_clock=hours)
    link.enqueue(1500, 0, 86400 - 120.0)  # 60 s at 8, 120 s at 80, the rest of 12,000 bits at 8
    ((when, _),) = arrivals(link)
    assert when - 86400 == pytest.approx(60 + (12000 - 480 - 9600) / 8)


def test_loss_follows_the_clock() -> None:
    hours = [{"from": "19:00", "to": "20:00", "loss": "100 %"}]
    link = model(by_clock=hours, bursts={"p": 0.0, "r": 1.0})
    assert link.enqueue(100, 0, SEVEN - 0.001) is None
    assert link.enqueue(100, 1, SEVEN) is Dropped.LOST
    assert link.enqueue(100, 2, SEVEN + 3600) is None


def test_a_change_counts_for_the_rest_of_the_packet_on_the_wire_and_for_what_waits() -> None:
    link = model(rate="8 kbit/s")
    link.enqueue(1000, 0, NOON)
    link.enqueue(1000, 1, NOON)
    link.change(DirectionSpec.model_validate({"rate": "80 kbit/s"}), NOON + 0.5)
    assert [round(when - NOON, 9) for when, _ in arrivals(link)] == [0.55, 0.65]


def test_a_change_leaves_those_on_their_way_alone_and_keeps_the_order() -> None:
    link = model(rate="80 kbit/s", delay="1 s")
    link.enqueue(1000, 0, NOON)
    link.change(DirectionSpec.model_validate({"rate": "80 kbit/s"}), NOON + 0.2)
    link.enqueue(1000, 1, NOON + 0.2)
    assert [(round(when - NOON, 9), item) for when, item in arrivals(link)] == [(1.1, 0), (1.1, 1)]


@pytest.mark.parametrize("reorder", [False, True])
def test_jitter_stays_within_its_bounds_and_reorders_only_if_it_may(reorder: bool) -> None:
    link = model(delay="50 ms", jitter="20 ms", reorder=reorder)
    for item in range(2000):
        link.enqueue(100, item, NOON + item * 0.001)
    found = arrivals(link)
    extra = sorted(when - NOON - item * 0.001 for when, item in found)
    assert 0.030 <= extra[0] < 0.0301 or not reorder
    assert extra[0] >= 0.030 - 1e-9
    assert extra[-1] <= 0.070 + 1e-9
    assert [when for when, _ in found] == sorted(when for when, _ in found)
    assert ([item for _, item in found] == list(range(2000))) is not reorder
    if reorder:
        assert sum(extra) / len(extra) == pytest.approx(0.050, abs=0.001)


@pytest.mark.parametrize("loss", [0.0035, 0.01, 0.1, 0.5])
def test_bernoulli_loss_is_within_its_99_percent_interval_and_without_memory(loss: float) -> None:
    link, n = model(loss=loss), 40_000
    fates = [link.enqueue(100, item, NOON) is Dropped.LOST for item in range(n)]
    lost = sum(fates)
    assert abs(lost - n * loss) < 2.576 * math.sqrt(n * loss * (1 - loss))
    assert len(arrivals(link)) == n - lost
    pairs = sum(a and b for a, b in pairwise(fates))
    assert abs(pairs - n * loss**2) < 4 * math.sqrt(n) * loss + 4


def test_gilbert_elliott_has_the_share_and_the_burst_length_of_its_chain() -> None:
    p, r, n = 0.01, 0.25, 100_000  # stationary share p / (p + r), mean burst 1 / r packets
    link = model(bursts={"p": p, "r": r})
    fates = [link.enqueue(100, item, NOON) is Dropped.LOST for item in range(n)]
    assert sum(fates) / n == pytest.approx(p / (p + r), rel=0.05)
    bursts = sum(now and not before for before, now in zip([False, *fates], fates, strict=False))
    assert sum(fates) / bursts == pytest.approx(1 / r, rel=0.05)
    link.due(NOON)
    counters = link.counters
    assert counters.lost_expected == pytest.approx(n * p / (p + r))
    assert abs(counters.lost - counters.lost_expected) < 2.576 * math.sqrt(counters.lost_variance)


def test_the_variance_of_bursty_losses_is_that_of_many_links() -> None:
    n, runs = 500, 400
    totals = []
    for seed in range(runs):
        link = model(seed, bursts={"p": 0.05, "r": 0.2, "bad": 0.8, "good": 0.01})
        totals.append(sum(link.enqueue(100, item, NOON) is Dropped.LOST for item in range(n)))
    link.due(NOON)
    mean = sum(totals) / runs
    assert mean == pytest.approx(link.counters.lost_expected, rel=0.05)
    assert sum((t - mean) ** 2 for t in totals) / runs == pytest.approx(link.counters.lost_variance, rel=0.2)


def test_duplicates_arrive_twice_and_are_counted() -> None:
    link = model(duplicate="10 %")
    for item in range(5000):
        link.enqueue(100, item, NOON)
    found = [item for _, item in arrivals(link)]
    assert set(found) == set(range(5000))
    assert len(found) - 5000 == link.counters.duplicated == pytest.approx(500, abs=2.576 * math.sqrt(450))


def test_jitter_does_not_change_which_packets_are_lost() -> None:
    def lost(**spec: Any) -> list[int]:
        link = model(3, loss="5 %", delay="50 ms", **spec)
        return [item for item in range(500) if link.enqueue(100, item, NOON + item)]

    assert lost() == lost(jitter="10 ms") == lost(duplicate="3 %")


packets = st.lists(st.tuples(st.integers(28, 1500), st.floats(0, 0.1), st.integers(0, 3)), max_size=60)
specs = st.fixed_dictionaries(
    {"delay": st.sampled_from(["0 s", "102.5 ms"]), "rate": st.sampled_from(["0.5 Mbit/s", "32 kbit/s", "1 kbit/s"])},
    optional={
        "loss": st.floats(0, 1), "duplicate": st.floats(0, 1), "reorder": st.just(False),
        "queue": st.sampled_from(["500 ms", "4 kB", {"time": "200 ms", "fair": True}]),
        "by_clock": st.just([{"from": "12:00", "to": "12:01", "rate": "64 kbit/s", "loss": "3 %"}]),
    },
)  # fmt: skip


def play(seed: int, spec: dict[str, Any], traffic: list[tuple[int, float, int]]) -> tuple[Any, LinkModel[int]]:
    link, now, fates = model(seed, **spec), NOON - 1, []
    for item, (size, gap, flow) in enumerate(traffic):
        now += gap
        fates.append(link.enqueue(size, item, now, flow))
    return (fates, arrivals(link)), link


@given(st.integers(0, 2**64), specs, packets)
def test_same_seed_same_fate_and_every_packet_is_accounted_for(
    seed: int, spec: dict[str, Any], traffic: list[tuple[int, float, int]]
) -> None:
    (fates, found), link = play(seed, spec, traffic)
    assert ((fates, found), link.counters) == (lambda again: (again[0], again[1].counters))(play(seed, spec, traffic))
    counters = link.counters
    assert counters.entered == len(traffic)
    assert counters.left == len(found)
    assert counters.entered == counters.overflowed + counters.lost + counters.left - counters.duplicated
    assert [when for when, _ in found] == sorted(when for when, _ in found)
    assert link.next_due() is None


@given(specs, packets)
def test_never_faster_than_the_rate(spec: dict[str, Any], traffic: list[tuple[int, float, int]]) -> None:
    spec = {key: value for key, value in spec.items() if key not in ("by_clock", "duplicate")}
    (_, found), link = play(1, spec, traffic)
    for (before, _), (when, item) in pairwise(found):
        assert when - before >= traffic[item][0] * 8 / (link.spec.rate or 1) - 1e-6


def test_chance_is_splitmix64() -> None:
    # first outputs for seed 1234567 in Vigna's splitmix64.c, as Rosetta Code prints them
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    chance = Chance(1234567)
    assert [chance.draw() for _ in expected] == [(value >> 11) / 2**53 for value in expected]
