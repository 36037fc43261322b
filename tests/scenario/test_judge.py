"""Judgement: an attempt counts in the phase it began in unless it straddles two; expectations say why they fail."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.scenario.judge import describe, judge, place_in_phases
from testbed.scenario.spec import Expectation
from testbed.scenario.timeline import Phase

PHASES = (Phase("open", 0, 10, {}), Phase("dark", 10, 20, {}))


def attempt(t: float, lasts: float = 1, verdict: str = "ok", **more: Any) -> dict[str, Any]:
    return {"name": "a", "t": t, "duration_s": lasts, "verdict": verdict, "failure": None, "kpis": {}, **more}


@pytest.mark.parametrize(
    ("t", "lasts", "phase"),
    [(0, 1, "open"), (9, 1, "open"), (9, 1.5, None), (10, 1, "dark"), (19, 5, "dark"), (20, 1, None)],
)
def test_an_attempt_belongs_to_the_phase_it_began_in(t: float, lasts: float, phase: str | None) -> None:
    assert place_in_phases([attempt(t, lasts)], PHASES)[0]["phase"] == phase


def expectation(**keys: Any) -> Expectation:
    return Expectation.model_validate({"phase": "open", "app": "a", **keys})


@pytest.mark.parametrize(
    ("expected", "seen", "why"),
    [
        ({"verdict": "ok"}, [attempt(1)], ""),
        ({"verdict": ["ok", "slow"]}, [attempt(1, verdict="slow")], ""),
        ({"verdict": "ok"}, [attempt(1), attempt(3, verdict="slow")], "slow at 3.0 s"),
        ({"verdict": "ok"}, [], "0 attempts were judged, 1 expected"),
        ({"verdict": "ok", "at_least": 2}, [attempt(1)], "1 attempts were judged, 2 expected"),
        ({"verdict": "ok"}, [attempt(9, 5)], "0 attempts were judged, 1 expected"),
        (
            {"failure": "connection_reset"},
            [attempt(1, verdict="blocked", failure="eof_error")],
            "failure eof_error at 1.0 s, not connection_reset",
        ),
        ({"blocking": "dns"}, [attempt(1, blocking="tcp_ip")], "blocking tcp_ip at 1.0 s, not dns"),
        ({"kpi": {"load_s": "< 8"}}, [attempt(1, kpis={"load_s": 8})], "load_s is 8 at 1.0 s, not < 8"),
        ({"kpi": {"load_s": "<= 8"}}, [attempt(1, kpis={"load_s": 8})], ""),
        ({"kpi": {"load_s": "> 1"}}, [attempt(1)], "load_s is missing at 1.0 s, not > 1"),
        ({"kpi": {"bytes": "== 5"}}, [attempt(1, kpis={"bytes": 6})], "bytes is 6 at 1.0 s, not == 5"),
    ],
)
def test_each_expectation_says_why_it_fails(expected: dict[str, Any], seen: list[dict[str, Any]], why: str) -> None:
    (judged,) = judge([expectation(**expected)], place_in_phases(seen, PHASES))
    assert (judged["holds"], judged["why"]) == (not why, why)


def test_an_expectation_is_written_in_a_few_words() -> None:
    wanted = expectation(verdict=["ok", "slow"], kpi={"mos": ">= 3.5"})
    assert describe(wanted) == "ok or slow, mos >= 3.5"
    assert describe(expectation(verdict="blocked", failure="eof_error")) == "blocked, eof_error"
