"""The action's own steps, really run: a recipe that doesn't get through, a suite, and nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.ci.test_files import ROOT, action, runs

pytestmark = pytest.mark.live
_JUDGE = next(step for step in runs() if step.get("id") == "judge")


def perform(folder: Path, **inputs: str) -> tuple[int, dict[str, str], str]:
    """Run the steps as a runner would, with its files pretended; return status, outputs and the summary."""
    given = {name: spec["default"] for name, spec in action()["inputs"].items()} | inputs
    output, summary = folder / "output", folder / "summary"
    base = {
        **os.environ, "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
    }  # fmt: skip
    status = 0
    for step in runs():
        if step["name"].startswith("Let ordinary users"):
            continue  # it changes the machine
        own = dict(step.get("env", {}))
        for name, value in own.items():
            for key, text in given.items():
                value = value.replace(f"${{{{ inputs.{key} }}}}", text)
            own[name] = value.replace("${{ runner.temp }}", str(folder))
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]  # as a runner's `shell: bash`
        done = subprocess.run(command, cwd=folder, env={**base, **own}, capture_output=True, text=True, check=False)
        status = done.returncode
        (folder / f"{step['name']}.log").write_text(done.stdout + done.stderr)
        if status:
            break
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return status, outputs, summary.read_text()


QUICK = {"policies": "tm-2022", "link": "none", "connections": "2", "soak": "0"}


SCENARIO = """scenario: page
title: A page without a link
link: none
policy: open
duration: 2 s
apps: [{name: page, app: web, timeout: 1 s, params: {url: "https://news.example/"}}]
expect: [{phase: start, app: page, verdict: ok}]
"""
MATRIX = "matrix: own\ntitle: A page in two countries\nscenarios: [./page.yaml]\npolicies: [open, tm-shutdown]\n"


def test_a_recipe_a_matrix_and_a_suite_are_judged_and_told(tmp_path: Path) -> None:
    (tmp_path / "page.yaml").write_text(SCENARIO)
    (tmp_path / "m.yaml").write_text(MATRIX)
    (tmp_path / "test_own.py").write_text("def test_well(): pass\ndef test_bad(): assert 1 == 2, 'no way'\n")
    status, outputs, summary = perform(
        tmp_path, **QUICK, recipe="direct", matrix="m.yaml", shard="2/2", pytest="test_own.py"
    )  # fmt: skip
    results = Path(outputs["results"])
    assert (status, outputs["status"], results.parent) == (1, "1", tmp_path), summary
    tools = json.loads((results / "tools.json").read_text())["tools"]
    assert [policy["verdict"] for policy in tools[0]["policies"]] == ["passes", "blocked"]
    cases = ElementTree.parse(results / "junit-tools.xml").iter("testcase")
    assert {case.attrib["name"]: case.find("failure") is not None for case in cases} == {
        "gets through open": False, "gets through tm-2022": True,
    }  # fmt: skip
    assert "| open | ✅ passes | 2/2 |" in summary
    assert "| tm-2022 | ❌ blocked | 0/2 |" in summary
    assert "| test\\_own test\\_bad | ❌ failed | AssertionError: no way" in summary
    assert (results / "junit-pytest.xml").exists()
    run = results / "runs" / "direct"
    assert list((run / "logs").iterdir())
    seen = [capture.stat().st_size > 10_000 for capture in (run / "pcap").glob("gateway-*side.pcapng")]
    assert seen == [True, True]
    (cell,) = ElementTree.parse(results / "junit-matrix.xml").iter("testcase")
    assert cell.attrib["name"] == "page+tm-shutdown+1"  # the second of two shards
    assert cell.find("failure") is not None
    assert "0 of 1 passed" in summary


def test_nothing_to_judge_is_bad_input(tmp_path: Path) -> None:
    status, outputs, _ = perform(tmp_path)
    assert (status, outputs["status"]) == (2, "2")
    assert "nothing to judge" in (tmp_path / "Judge.log").read_text()
