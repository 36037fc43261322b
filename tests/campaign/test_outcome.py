"""Outcomes: one word from what a run left behind, and when it proves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.campaign.outcome import Outcome, judged, read
from tests.campaign.orders import order
from tests.report.runs import result


def left(folder: Path, found: dict[str, Any]) -> Path:
    run = folder / "run"
    run.mkdir(parents=True)
    (run / "result.json").write_text(json.dumps(found))
    return folder


def tool(verdict: str, **changed: Any) -> dict[str, Any]:
    success = {"ok": 3, "of": 3, "failures": {}, "first_byte_s": {"p50": 0.25, "p90": 0.3}}
    item = {"policy": "tm-2022", "verdict": verdict, "why": [], "success": success, "started": None, "died": [],
            "load": {"goodput_bps": 400_000}, "blocked_by": [], **changed}  # fmt: skip
    return {"recipe": "r", "policies": [{**item, "policy": "open", "verdict": "passes"}, item]}


@pytest.mark.parametrize(
    ("verdict", "word"),
    [("passes", "ok"), ("unstable", "unstable"), ("blocked", "blocked"), ("broken", "broken"), ("invalid", "invalid")],
)
def test_a_tools_word_is_that_of_the_policy_not_of_the_open_net(tmp_path: Path, verdict: str, word: str) -> None:
    assert judged(order("c"), 0, left(tmp_path, tool(verdict)), "").word == word


def test_a_tools_figures_and_reasons(tmp_path: Path) -> None:
    assert judged(order("c"), 0, left(tmp_path / "a", tool("passes")), "").detail == "0.25 s, 400 kbit/s"
    rules = [{"rule": "sni", "reason": "the name is listed"}]
    lost = {"ok": 0, "of": 3, "failures": {"connection_reset at tls": 3}, "first_byte_s": {"p50": None, "p90": None}}
    found = judged(order("c"), 0, left(tmp_path / "b", tool("blocked", blocked_by=rules, success=lost)), "")
    assert found.why == ("connection_reset at tls (3x)", "by sni: the name is listed")
    assert found.detail == "sni"


def test_a_tool_that_never_started_is_broken(tmp_path: Path) -> None:
    bare = {"recipe": "r", "policies": [{"policy": "open", "verdict": "broken", "why": [], "started": "port in use"}]}
    found = judged(order("c"), 0, left(tmp_path, bare), "")
    assert (found.word, found.why) == ("broken", ("port in use",))


def test_a_scenarios_word_is_its_status(tmp_path: Path) -> None:
    found = judged(order("c", "scenario"), 1, left(tmp_path, result("failed")), "")
    assert (found.word, found.detail) == ("failed", "1 of 2 hold")
    assert found.why == ("dark / text: <reset>",)


def through(**changed: Any) -> dict[str, Any]:
    return {**result("passed"), "expectations": [], "tools": {}, **changed}


def test_through_a_tool_the_worst_verdict_of_its_users_counts(tmp_path: Path) -> None:
    told = order("c", "through", users=("text",))
    found = judged(told, 0, left(tmp_path, through()), "")
    assert (found.word, found.why) == ("blocked", ("text: connection_reset",))


def test_through_a_tool_a_control_that_does_not_hold_makes_it_invalid(tmp_path: Path) -> None:
    told = order("c", "through", users=("text",))
    found = judged(told, 1, left(tmp_path, {**result("failed"), "tools": {}}), "")
    assert found.word == "invalid"
    assert found.why[0].startswith("the control is not as it should be: dark / text")


def test_through_a_tool_that_would_not_start_is_broken(tmp_path: Path) -> None:
    told = order("c", "through", users=("text",))
    lost = through(status="invalid", why=["the tool matrix-tool is skipped: its server said no"])
    assert judged(told, 3, left(tmp_path, lost), "").word == "broken"


def test_nobody_going_through_proves_nothing(tmp_path: Path) -> None:
    assert judged(order("c", "through", users=("other",)), 0, left(tmp_path, through()), "").word == "invalid"


@pytest.mark.parametrize(("status", "word"), [(3, "invalid"), (130, "interrupted"), (4, "error"), (-9, "error")])
def test_without_a_result_the_exit_status_speaks(tmp_path: Path, status: int, word: str) -> None:
    found = judged(order("c"), status, tmp_path, "the last words")
    assert (found.word, found.why, found.proves) == (word, ("the last words",), False)


def test_holds_is_unknown_where_nothing_is_proven() -> None:
    assert Outcome("c", "blocked").holds(("ok", "blocked")) is True
    assert Outcome("c", "blocked").holds(("ok",)) is False
    assert Outcome("c", "blocked").holds(("any",)) is True
    assert Outcome("c", "invalid").holds(("any",)) is None


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = Outcome("c", "ok", ("a", "b"), "0.2 s", 3.5, "run", key={"inputs": "1", "programs": "2"})
    path = tmp_path / "outcome.json"
    path.write_text(json.dumps(found.as_json()))
    assert read(path) == found
    path.write_text('{"cell": "c", "word": "ok", "of another version": 1}')
    assert read(path) is None
    assert read(tmp_path / "none") is None


def test_what_only_the_run_finds_missing_is_skipped(tmp_path: Path) -> None:
    bare = {"recipe": "r", "skipped": "the program `x` is not installed", "policies": []}
    found = judged(order("c"), 3, left(tmp_path, bare), "")
    assert (found.word, found.why) == ("skipped", ("the program `x` is not installed",))


def test_a_broken_tool_that_ran_says_its_last_words(tmp_path: Path) -> None:
    found = judged(order("c"), 1, left(tmp_path, tool("broken", said={"client": "no route"})), "")
    assert found.why == ("client said: no route",)
