"""Fidelity: what is measured, and that every way of being unfaithful is named."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.link import fidelity
from testbed.link.fidelity import Departure, judge
from testbed.link.model import LinkModel
from testbed.link.spec import DirectionSpec

ASKED = {"rate_bps": 5e5, "delay_s": 0.1025, "jitter_s": 0.0}


def departures(
    n: int = 300, *, late_s: float = 0.0001, gap_s: float = 0.5, stretch: float = 1.0, direction: int = 0
) -> list[Departure]:
    """Return what a link would log whose process is late by so much, or slow by a factor."""
    spec = DirectionSpec.model_validate({"rate": "0.5 Mbit/s", "delay": "102.5 ms", "queue": "1000 s"})
    link: LinkModel[float] = LinkModel(spec, seed=1)
    for number in range(n):
        link.enqueue(1500, number * gap_s, number * gap_s)
    found = link.due(1e9)
    first = found[0][0]
    return [
        Departure(direction, 1500, came, due, first + (due - first) * stretch + late_s) for due, came in found
    ]  # fmt: skip


def counters(n: int, **more: float) -> dict[str, Any]:
    return {"entered": n, "overflowed": 0, "lost": 0, "lost_expected": 0.0, "lost_variance": 0.0, **more}


def reasons(found: list[Departure], stats: dict[str, Any] | None = None, asked: dict[str, Any] | None = None) -> str:
    judged = judge(found, {"up": counters(len(found)), **(stats or {})}, {"up": {**ASKED, **(asked or {})}})
    assert judged["faithful"] is not bool(judged["reasons"])
    return "; ".join(judged["reasons"])


def test_a_link_that_does_what_was_asked_is_faithful_and_measured() -> None:
    judged = judge(departures(gap_s=0.5), {"up": counters(300)}, {"up": ASKED})
    assert (judged["faithful"], judged["reasons"], judged["departures"]) == (True, [], 300)
    assert judged["lateness_s"]["p99"] == pytest.approx(0.0001)
    assert judged["up"]["idle_delay_s"] == pytest.approx(0.1026)
    assert judged["up"]["busy_bps"] is None  # it was never busy
    assert judged["up"]["asked"] == {**ASKED, "loss": 0.0}
    busy = judge(departures(gap_s=0.001), {"up": counters(300)}, {"up": ASKED})
    assert busy["up"]["busy_bps"] == pytest.approx(5e5)
    assert busy["faithful"]


def test_lateness_has_bounds_at_p99_and_at_worst() -> None:
    assert "1 % of departures were more than 6.0 ms late" in reasons(departures(late_s=0.006))
    one = departures()
    one[7] = one[7]._replace(actual=one[7].due + 0.06)
    assert reasons(one) == "a departure was 60 ms late (bound 50)"
    assert "late" not in reasons(departures(20, late_s=0.006))  # a p99 needs a hundred


def test_a_delay_that_is_off_and_a_rate_that_is_off() -> None:
    assert "up: 103.20 ms on an idle link, 102.5 ms was asked" in reasons(departures(late_s=0.0007))
    slow = reasons(departures(gap_s=0.001, stretch=1.02, late_s=0))
    assert "up: 490,196 bit/s on a busy link, 500,000 was asked" in slow
    assert "490,196" in reasons(departures(gap_s=0.001, stretch=1.02, late_s=0), asked={"jitter_s": 0.0})
    assert "bit/s" not in reasons(departures(gap_s=0.001, stretch=1.02, late_s=0), asked={"rate_bps": None})


def test_early_is_as_wrong_as_late_unless_the_backend_bursts() -> None:
    assert "up: a packet left 3.0 ms early" in reasons(departures(late_s=-0.003))
    assert reasons(departures(late_s=-0.003), asked={"early_s": 0.048}) == ""


@pytest.mark.parametrize(
    ("stats", "word"),
    [
        ({"oversize": 3}, "3 packets were larger than the MTU"),
        ({"queue_drops": 7}, "lost 7 packets before"),
        ({"send_drops": 2}, "lost 2 packets after"),
        ({"up": counters(300, lost=30, lost_expected=3.0, lost_variance=2.97)}, "up: 30 packets were lost, 3.0 were"),
        ({"up": counters(300, lost=0, lost_expected=30.0, lost_variance=27.0)}, "up: 0 packets were lost, 30.0 were"),
        ({"down": counters(300, lost=5)}, "down: 5 packets were lost, 0.0 were"),
    ],
)
def test_what_else_makes_a_run_invalid(stats: dict[str, Any], word: str) -> None:
    assert word in reasons(departures(), stats)


def test_loss_within_its_interval_is_faithful() -> None:
    assert reasons(departures(), {"up": counters(300, lost=8, lost_expected=3.0, lost_variance=2.97)}) == ""


def test_an_unshaped_link_is_faithful_for_nothing_was_asked_and_an_unmeasured_one_is_not() -> None:
    assert fidelity.unshaped()["faithful"]
    assert fidelity.not_measured("gone") == {"faithful": False, "reasons": ["not measured: gone"]}


def test_the_busiest_rate_is_that_of_a_window() -> None:
    burst = [Departure(0, 1250, t / 100, t / 100, t / 100) for t in range(301)]  # 1 Mbit/s for 3 s
    quiet = [Departure(0, 1250, 10.0 + t, 10.0 + t, 10.0 + t) for t in range(10)]
    assert fidelity.busiest_rate(burst + quiet) == pytest.approx(1e6)


def test_bursts_that_begin_late_are_not_a_faster_link() -> None:
    """ACKs in pairs: the first of each 0.3 ms late, the second on time, as a busy machine does it."""
    departures = []
    for number in range(200):
        at = number * 0.1
        departures += [
            fidelity.Departure(0, 52, at, at + 0.1, at + 0.1003),
            fidelity.Departure(0, 52, at, at + 0.1 + 52 * 8 / 500_000, at + 0.1 + 52 * 8 / 500_000),
        ]
    _, seconds, bursts = fidelity.busy(departures, 500_000)
    assert bursts == 200
    asked = {"up": {"rate_bps": 500_000.0}}
    stats = {"up": {"entered": 400}}
    reasons = fidelity.judge(departures, stats, asked)["reasons"]
    assert seconds < 200 * 52 * 8 / 500_000 * 0.99
    assert not [reason for reason in reasons if "busy" in reason], reasons
