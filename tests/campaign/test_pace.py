"""The pace of starts, with literal times: lag holds it, spoilt runs halve it, good ones widen it."""

from __future__ import annotations

import pytest

from testbed.campaign.pace import Lag, Load, Pace

PLENTY = Load(cores=2, free_bytes=8 << 30, spare_bytes=1 << 30)


def paced(lags_s: list[float], most: int = 0) -> Pace:
    """Return a pace that was woken every 10 ms, so late."""
    pace = Pace(most)
    for number, lag_s in enumerate(lags_s):
        pace.woke(number * 0.01, lag_s)
    return pace


def test_the_first_run_starts_whatever_the_machine_does() -> None:
    assert paced([0.5] * 100).may_start(0, 0, Load(2, 0, 1 << 30))


def test_a_calm_machine_takes_two_starts_a_core_at_a_time() -> None:
    pace = paced([0.0002] * 100)
    assert pace.may_start(3, 3, PLENTY)
    assert not pace.may_start(4, 4, PLENTY)
    assert pace.may_start(40, 0, PLENTY)


@pytest.mark.parametrize(
    "lags_s",
    [[0.0002] * 90 + [0.004] * 10, [0.0002] * 99 + [0.030]],
    ids=["one waking in ten 4 ms late", "a single one 30 ms late"],
)
def test_lag_holds_the_next_start(lags_s: list[float]) -> None:
    assert not paced(lags_s).may_start(3, 0, PLENTY)


def test_lag_is_forgotten_after_a_second() -> None:
    pace = paced([0.2] * 10)
    for number in range(110):
        pace.woke(0.1 + number * 0.01, 0.0001)
    assert pace.may_start(3, 0, PLENTY)


def test_memory_holds_it() -> None:
    assert not paced([0.0] * 10).may_start(1, 0, Load(2, 1 << 20, 1 << 30))


def test_jobs_bounds_it() -> None:
    pace = paced([0.0] * 10, most=3)
    assert [pace.may_start(running, 0, PLENTY) for running in (2, 3)] == [True, False]


def test_a_spoilt_run_halves_the_number_and_each_good_one_allows_one_more() -> None:
    pace = paced([0.0] * 10)
    pace.ended_well()
    pace.was_spoilt(20)
    assert [pace.may_start(running, 0, PLENTY) for running in (9, 10)] == [True, False]
    pace.ended_well()
    assert [pace.may_start(running, 0, PLENTY) for running in (10, 11)] == [True, False]
    pace.was_spoilt(10)
    pace.was_spoilt(4)
    pace.was_spoilt(2)
    pace.was_spoilt(2)
    assert pace.limit == 1


@pytest.mark.parametrize(
    ("wakings", "late", "disturbed"),
    [(3000, 30, False), (3000, 31, True), (100, 3, False), (100, 4, True), (0, 0, False)],
)
def test_a_run_is_disturbed_by_more_than_one_late_waking_in_a_hundred(wakings: int, late: int, disturbed: bool) -> None:
    assert Lag(wakings, late).disturbed is disturbed
