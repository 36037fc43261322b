"""A CI's summary page and JUnit of tools' tests: what failed is told, and what a tool wrote can't break the table."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from testbed.report import junit, markdown

RATE = {"ok": 0, "of": 3, "failures": {"connection_reset at tls_handshake": 3}, "first_byte_s": {"p50": None}}
BLOCKED: dict[str, Any] = {
    "policy": "tm-2022", "verdict": "blocked", "why": [], "started": None, "success": RATE, "load": None,
    "blocked_by": [{"rule": "tls-sni", "reason": "reset", "times": 6, "flow": "tcp 100.64.1.1:4 > 198.19.3.4:443"}],
}  # fmt: skip
PASSES: dict[str, Any] = {
    "policy": "open", "verdict": "passes", "why": [], "started": None, "blocked_by": [],
    "success": {"ok": 3, "of": 3, "failures": {}, "first_byte_s": {"p50": 0.412}}, "load": {"goodput_bps": 431000},
}  # fmt: skip
INVALID = {**PASSES, "policy": "nothing", "verdict": "invalid", "why": ["the control client was not blocked"]}


def tool(*policies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"recipe": "mytool", "title": "My tool", "policies": list(policies), "regressions": None, **more}


def test_a_row_tells_figures_and_what_stopped_it() -> None:
    assert markdown.of_tools([tool(PASSES, BLOCKED, INVALID)]).splitlines() == [
        "### mytool: My tool", "",
        "| policy | verdict | connections | first byte | goodput | why |", "|---|---|---|---|---|---|",
        "| open | ✅ passes | 3/3 | 0.41 s | 431 kbit/s |  |",
        r"| tm-2022 | ❌ blocked | 0/3 |  |  | connection\_reset at tls\_handshake (3×); by tls-sni: reset |",
        "| nothing | ❔ invalid | 3/3 | 0.41 s | 431 kbit/s | the control client was not blocked |",
    ]  # fmt: skip


def test_a_skipped_tool_and_a_baseline_are_told() -> None:
    assert "❔ skipped: no program" in markdown.of_tools([tool(skipped="no program")])
    worse = markdown.of_tools([tool(BLOCKED, regressions=["tm-2022: blocked, was passes"])])
    assert "**Worse than the baseline:** tm-2022: blocked, was passes" in worse
    assert "No worse than the baseline." in markdown.of_tools([tool(BLOCKED, regressions=[])])


def test_what_a_tool_wrote_stays_in_its_cell() -> None:
    broken = {**BLOCKED, "verdict": "broken", "started": "line one\n| a | <script> `x` [y](z)" + "w" * 400}
    row = markdown.of_tools([tool(broken)]).splitlines()[4]
    assert row.startswith("| tm-2022 | ❌ broken | 0/3 |  |  | \\| a \\| &lt;script&gt; \\`x\\` \\[y\\](z)www")
    assert row.endswith("… |")


def cases(*tools: dict[str, Any]) -> list[tuple[str, str | None]]:
    root = ElementTree.fromstring(junit.render_tools(tools))
    return [(case.attrib["name"], next((child.tag for child in case), None)) for case in root.iter("testcase")]


def messages(*tools: dict[str, Any]) -> list[str]:
    root = ElementTree.fromstring(junit.render_tools(tools))
    return [child.attrib["message"] for case in root.iter("testcase") for child in case]


def test_junit_of_tools_has_a_case_for_each_policy() -> None:
    assert cases(tool(PASSES, BLOCKED, INVALID)) == [
        ("gets through open", None), ("gets through tm-2022", "failure"), ("gets through nothing", "error"),
    ]  # fmt: skip
    assert messages(tool(BLOCKED, INVALID)) == [
        "blocked; connection_reset at tls_handshake (3x); by tls-sni: reset on tcp 100.64.1.1:4 > 198.19.3.4:443",
        "the control client was not blocked",
    ]
    suite = ElementTree.fromstring(junit.render_tools([tool(PASSES, BLOCKED, INVALID)]))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")


def test_with_a_baseline_only_what_got_worse_fails() -> None:
    assert messages(tool(PASSES, BLOCKED, regressions=[])) == []
    assert messages(tool(PASSES, BLOCKED, regressions=["open: 60% of the connections succeed, were 100%"])) == [
        "60% of the connections succeed, were 100%"
    ]


def test_a_skipped_tool_is_a_skipped_case_never_a_passed_one() -> None:
    assert cases(tool(skipped="no program")) == [("the tool can be run", "skipped")]


JUNIT = """<testsuites><testsuite name="s">
<testcase classname="a" name="well"/>
<testcase classname="a" name="bad"><failure message="no | way">long</failure></testcase>
<testcase name="invalid"><error>the link
was late</error></testcase>
</testsuite></testsuites>"""


def test_a_junit_file_is_a_table_with_what_is_not_well_first() -> None:
    assert markdown.of_junit(JUNIT).splitlines() == [
        "1 of 3 passed", "", "| test |  | why |", "|---|---|---|", r"| a bad | ❌ failed | no \| way |",
        "| invalid | ❔ proves nothing | the link was late |", "| a well | ✅ passed |  |",
    ]  # fmt: skip


def test_what_is_no_junit_file_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    (tmp_path / "x.xml").write_text("<a>")
    assert markdown.main([str(tmp_path / "x.xml"), str(tmp_path / "y.xml")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.rpartition("; ")[2] for line in told] == ["give a JUnit file"] * 2


def test_what_a_tool_wrote_makes_no_xml_unreadable() -> None:
    crashed = {**BLOCKED, "verdict": "broken", "started": "srv ended: \x00\x1b[31m\ud800", "said": {"srv": "\x07"}}
    text = junit.render_tools([tool(crashed)])
    assert "srv ended" in (ElementTree.fromstring(text).findtext(".//failure") or "")


def test_what_a_baseline_does_not_hold_is_told() -> None:
    assert "judged as without one" in markdown.of_tools([tool(PASSES, not_compared=["r: judged as without one"])])
