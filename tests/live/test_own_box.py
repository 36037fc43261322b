"""The adapters' contract: the project's box and the teaching box look the same from a client, and to a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.middlebox import scapy_box
from tests.live.conftest import COMMAND

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
EVENT = {"t", "now", "box", "rule", "flow", "reason", "evidence", "verdict", "injections", "trigger"}


def _converse(folder: Path, policy: str) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Hold the conversation behind a policy; return what was seen, the events, and how the run ended."""
    run = folder / "run"
    ask = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.live.box_contract", str(run)]
    argv = ["exec", "--policy", policy, "--link", "none", "--keep", str(run), "--", *ask]
    done = subprocess.run([*COMMAND, *argv], capture_output=True, text=True, timeout=90, cwd=folder, check=False)
    assert done.stdout, done.stderr
    assert done.returncode == 3, "a run whose box has ended proves nothing"
    events = [json.loads(line) for line in (run / "work" / "gateway.events.jsonl").read_text().splitlines()]
    return json.loads(done.stdout), events, done.stderr


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], list[dict[str, Any]], str]]:
    """Hold the same conversation with the engine's box under tm-2022 and with a copy of the teaching box."""
    folder = tmp_path_factory.mktemp("own")
    own = folder / "my_box.py"
    shutil.copy(scapy_box.__file__, own)
    places = [folder / "live", folder / "scapy"]
    for place in places:
        place.mkdir()
    return [_converse(places[0], "tm-2022"), _converse(places[1], str(own))]


def test_programs_see_the_same(both: list[tuple[dict[str, Any], list[dict[str, Any]], str]]) -> None:
    live, scapy = both[0][0]["seen"], both[1][0]["seen"]
    assert live == scapy
    assert live["dns"] == [["127.0.0.1"]] * 3
    assert live["free dns"][0] != []
    assert live["free dns"][1] == []
    assert [status for status, _ in live["http"]] == [56, 0, 0]
    assert [status for status, _ in live["https"]] == [35, 0, 0]


def test_both_count_and_answer_alike(both: list[tuple[dict[str, Any], list[dict[str, Any]], str]]) -> None:
    live, scapy = both[0][0], both[1][0]
    assert live["stats"] == scapy["stats"] == {"dropped": 0, "queue_drops": 0, "unparsed": 0}
    assert live["acted"]
    assert scapy["acted"]
    assert {"packets", "decisions", "injected", "late", "worst_lag_s", "policy"} <= set(live["keys"]) & set(
        scapy["keys"]
    )


def test_both_write_the_same_events(both: list[tuple[dict[str, Any], list[dict[str, Any]], str]]) -> None:
    for _, events, _ in both:
        assert all(event.keys() >= EVENT for event in events)
        first = {event["rule"]: event for event in reversed(events)}
        assert {rule: event["flow"].split(":")[0] for rule, event in first.items()} == {
            "dns": "udp 100.64.1.1", "http-host": "tcp 100.64.1.1", "tls-sni": "tcp 100.64.1.1",
        }  # fmt: skip
        assert {(event["verdict"], event["injections"]) for event in first.values()} == {("pass", 1)}
        assert all(len(event["trigger"]["hash"]) == 16 for event in events)
        assert events[-1]["rule"] == "dns"
        assert 5000 <= events[-1]["t"] < 5030  # the clock was set
        assert events[-1]["now"] == pytest.approx(1e9 + events[-1]["t"], abs=1)


def test_both_end_in_order_when_told_to(both: list[tuple[dict[str, Any], list[dict[str, Any]], str]]) -> None:
    assert all("gateway ended with status 0" in said for _, _, said in both)
