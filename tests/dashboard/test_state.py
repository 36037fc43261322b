"""What the page shows is a function of what happened; a snapshot and the changes after it agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.dashboard.state import DECISIONS_A_CHANGE, KEPT_DECISIONS, KEPT_POINTS, View, effect, replay

HOSTS = {"100.64.1.1": "client1", "198.19.3.4": "web"}


def view() -> View:
    return View({"name": "run"}, None, HOSTS.get)


def decision(t: float = 1.0, rule: str = "sni", verdict: str = "pass", injections: int = 1) -> dict[str, Any]:
    return {
        "t": t, "box": "gateway", "rule": rule, "verdict": verdict, "flow": "tcp 100.64.1.1:4 > 198.19.3.4:443",
        "reason": "reset", "evidence": {"sni": "a.example"}, "injections": injections, "trigger": {"hash": "ab"},
    }  # fmt: skip


def attempt(verdict: str, t: float = 1.0) -> dict[str, Any]:
    failure = "connection_reset" if verdict == "blocked" else None
    return {
        "name": "text", "app": "messenger", "node": "client1", "t": t, "verdict": verdict, "failure": failure,
        "kpis": {"delivery_s": 0.5},
    }  # fmt: skip


def sample(t: float, arrived_bytes: int, rate_bps: float | None = 5e5) -> dict[str, Any]:
    side = {
        "rate_bps": rate_bps, "delay_s": 0.1, "queue_bytes": 700, "entered": 0, "lost": 1, "overflowed": 2,
        "arrived_bytes": arrived_bytes,
    }  # fmt: skip
    return {"t": t, "up": side, "down": side}


def test_a_decision_knows_its_ends_and_its_number() -> None:
    seen = replay([("decision", decision()), ("decision", decision(2.0))], view())
    last = seen.snapshot()["decisions"][-1]
    assert (last["n"], last["ends"], last["hash"], last["evidence"]) == (
        2,
        ["client1", "web"],
        "ab",
        {"sni": "a.example"},
    )
    assert seen.snapshot()["rules"] == {"sni": 2}


@pytest.mark.parametrize(
    ("verdict", "injections", "word"),
    [("drop", 0, "drop"), ("drop", 1, "drop"), ("pass", 1, "inject"), ("pass", 0, "pass"), ("throttle", 0, "throttle"),
     ("delay", 0, "delay")],
)  # fmt: skip
def test_the_effect_of_a_decision(verdict: str, injections: int, word: str) -> None:
    assert effect(decision(verdict=verdict, injections=injections)) == word


def test_a_tile_shows_the_last_attempt_and_keeps_the_others() -> None:
    seen = replay([("attempt", attempt("ok")), ("attempt", attempt("blocked", 5.0))], view())
    tile = seen.snapshot()["apps"]["text"]
    assert (tile["verdict"], tile["failure"], tile["attempts"]) == ("blocked", "connection_reset", 2)
    assert [one["verdict"] for one in tile["history"]] == ["ok", "blocked"]


def test_the_rate_is_what_arrived_between_two_samples() -> None:
    seen = replay([("sample", sample(1.0, 0)), ("sample", sample(1.1, 6250))], view())
    (point,) = seen.snapshot()["points"]
    assert point == [1.1, 500_000, 500_000, 700, 700, 5e5]
    assert seen.snapshot()["link"] == {
        "rate_up": 5e5, "rate_down": 5e5, "delay_s": 0.2, "lost": 2, "overflowed": 4,
    }  # fmt: skip


def test_a_clock_that_starts_again_gives_no_point() -> None:
    seen = replay([("sample", sample(3.0, 9000)), ("sample", sample(0.1, 9000)), ("sample", sample(0.2, 9000))], view())
    assert [point[0] for point in seen.snapshot()["points"]] == [0.2]


def test_nothing_new_is_no_change() -> None:
    seen = replay([("box", {"name": "gateway", "policy": "open"}), ("run", {"state": "running"})], view())
    assert seen.changes() is not None
    seen = replay([("box", {"name": "gateway", "policy": "open"}), ("run", {"state": "running"})], seen)
    assert seen.changes() is None


def test_a_flood_is_told_in_part_and_counted_whole() -> None:
    seen = replay((("decision", decision(n)) for n in range(1000)), view())
    change = seen.changes()
    assert change is not None
    assert len(change["decisions"]) == DECISIONS_A_CHANGE
    assert change["skipped"] == 1000 - DECISIONS_A_CHANGE
    assert (change["total"], change["rules"]) == (1000, {"sni": 1000})
    assert len(seen.snapshot()["decisions"]) == KEPT_DECISIONS


def test_a_long_run_keeps_its_size() -> None:
    seen = replay((("sample", sample(n / 10, n)) for n in range(3 * KEPT_POINTS)), view())
    assert len(seen.snapshot()["points"]) == KEPT_POINTS


def test_the_end_is_the_results_word() -> None:
    result = {"status": "passed", "why": [], "duration_s": 9.0, "title": "T", "scenario": "s", "moments": [2.0]}
    seen = replay([("run", {"state": "running", "elapsed_s": 8.0}), ("end", result)], view()).snapshot()["run"]
    assert (seen["state"], seen["status"], seen["elapsed_s"], seen["moments"]) == ("ended", "passed", 9.0, [2.0])


RECORDS = st.one_of(
    st.builds(lambda t, rule: ("decision", decision(t, rule)), st.floats(0, 9), st.sampled_from("abc")),
    st.builds(lambda v, t: ("attempt", attempt(v, t)), st.sampled_from(["ok", "slow", "blocked"]), st.floats(0, 9)),
    st.builds(lambda t, n: ("sample", sample(t, n)), st.floats(0, 9), st.integers(0, 10**6)),
    st.builds(lambda t: ("step", {"t": t, "step": {"phase": "p"}}), st.floats(0, 9)),
    st.builds(lambda name: ("box", {"name": "gateway", "policy": name}), st.sampled_from("xy")),
)  # fmt: skip


@given(st.lists(RECORDS, max_size=30), st.integers(0, 30))
def test_a_snapshot_and_the_changes_after_it_make_the_later_snapshot(records: list[Any], cut: int) -> None:
    seen = replay(records[:cut], view())
    seen.changes()
    browser = json.loads(json.dumps(seen.snapshot()))
    replay(records[cut:], seen)
    change = json.loads(json.dumps(seen.changes() or {}))
    for key in ("link", "boxes", "steps", "rules", "run", "total"):
        browser[key] = change.get(key, browser[key])
    browser["apps"] |= change.get("apps", {})
    browser["decisions"] += change.get("decisions", [])
    browser["points"] += change.get("points", [])
    assert browser == json.loads(json.dumps(seen.snapshot()))
