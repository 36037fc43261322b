"""The four forms of one result agree and survive hostile text."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from testbed.report import html, junit, text


def result(status: str = "failed") -> dict[str, Any]:
    return {
        "scenario": "demo", "title": "A demo <script>", "about": "", "seed": 1, "started": "2026-01-02T03:04:05",
        "duration_s": 20.0, "status": status, "why": ["too slow & late"] if status == "invalid" else [],
        "phases": [
            {"name": "open", "start_s": 0, "end_s": 10, "policies": {"gateway": "open"}},
            {"name": "dark", "start_s": 10, "end_s": 20, "policies": {"gateway": "tm-2023-08"}},
        ],
        "apps": [
            {"name": "text", "app": "messenger", "t": 1.0, "duration_s": 2.5, "verdict": "slow", "failure": None,
             "phase": "open", "kpis": {"delivery_s": 2.5}},
            {"name": "text", "app": "messenger", "t": 11.0, "duration_s": 0.4, "verdict": "blocked",
             "failure": "connection_reset", "phase": "dark", "kpis": {}},
        ],
        "expectations": [
            {"phase": "open", "app": "text", "expected": "slow", "observed": "slow", "holds": True, "why": ""},
            {"phase": "dark", "app": "text", "expected": "ok", "observed": "blocked", "holds": False, "why": "<reset>"},
        ],
        "decisions": {"total": 1, "by_rule": {"sni": 1}}, "fidelity": {"faithful": True, "reasons": []},
        "command": "testbed run demo --seed 1",
    }  # fmt: skip


def test_text_shows_each_app_in_each_phase() -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(text.render(result()))
    console.file.close()
    shown = console.export_text()
    for word in ("slow", "2.5 s", "connection_reset", "1 of 2 expectations hold", "<reset>", "sni 1"):
        assert word in shown


def test_junit_counts_what_failed() -> None:
    suite = ElementTree.fromstring(junit.render(result()))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "<reset>"


@pytest.mark.parametrize("status", ["invalid", "interrupted"])
def test_junit_is_never_green_for_a_run_that_proves_nothing(status: str) -> None:
    suite = ElementTree.fromstring(junit.render(result(status)))
    assert suite.get("errors") == "1"


def test_html_is_whole_and_escapes_what_it_shows() -> None:
    event = {
        "t": 11.0, "box": "gateway", "rule": "sni", "verdict": "pass", "flow": "a", "reason": "<b>",
        "evidence": {"sni": "<img>"},
    }  # fmt: skip
    page = html.render(result(), [event] * 501)
    assert "<script" not in page
    assert "<img>" not in page
    assert "connection_reset" in page
    assert "1 more in" in page
    assert "http://" not in page
    assert "https://" not in page
