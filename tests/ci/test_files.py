"""The action and the template: their own schemas hold, their shell is sound, and all inputs arrive."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
ACTION, TEMPLATE, SCRIPT = ROOT / "action.yml", ROOT / "templates" / "testbed.yml", ROOT / "scripts" / "judge-for-ci"
_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def action() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(ACTION.read_text())
    return found


def runs() -> list[dict[str, Any]]:
    """Return the steps that run a shell."""
    return [step for step in action()["runs"]["steps"] if "run" in step]


def check(schema: str, *paths: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def shellcheck(text: str, *options: str) -> None:
    program = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([program, *options, "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_is_one_that_github_takes() -> None:
    check("vendor.github-actions", ACTION)


def test_the_template_is_one_that_gitlab_takes() -> None:
    check("vendor.gitlab-ci", TEMPLATE)


def test_the_pages_workflows_are_ones_that_they_take(tmp_path: Path) -> None:
    blocks = _YAML.findall((ROOT / "docs" / "ci.md").read_text(encoding="utf-8"))
    workflows = [block for block in blocks if "\njobs:" in block]
    jobs = [block for block in blocks if block.startswith("include:")]
    assert (len(workflows), len(jobs)) == (2, 1)
    inputs = set(action()["inputs"])
    for number, text in enumerate(workflows):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        check("vendor.github-workflows", path)
        for job in yaml.safe_load(text)["jobs"].values():
            given = [step["with"] for step in job["steps"] if "testbed" in step.get("uses", "")]
            assert given
            assert set().union(*given) <= inputs
    (tmp_path / "gitlab.yml").write_text(jobs[0])
    check("vendor.gitlab-ci", tmp_path / "gitlab.yml")
    variables = yaml.safe_load(TEMPLATE.read_text())[".testbed"]["variables"]
    assert set(yaml.safe_load(jobs[0])["censored"]["variables"]) <= set(variables)


@pytest.mark.parametrize("step", runs(), ids=lambda step: str(step["name"]))
def test_the_actions_shell_is_sound(step: dict[str, Any]) -> None:
    shellcheck(step["run"], "--shell=bash")
    # a value that GitHub pastes into a script is a way in for whoever chooses it, a branch's name for example
    assert "${{" not in step["run"]


@pytest.mark.parametrize("script", ["judge-for-ci", "setup", "table"])
def test_the_scripts_are_sound(script: str) -> None:
    shellcheck((ROOT / "scripts" / script).read_text(), "--exclude=SC2086")  # setup's lists are split on purpose
    assert (ROOT / "scripts" / script).stat().st_mode & 0o111


def test_the_templates_shell_is_sound() -> None:
    job = yaml.safe_load(TEMPLATE.read_text())[".testbed"]
    shellcheck("\n".join([*job["before_script"], *job["script"]]), "--shell=sh")


def test_every_input_arrives_in_the_script() -> None:
    read = set(re.findall(r"\$\{([A-Z]+):-", SCRIPT.read_text()))
    judge = next(step for step in runs() if step.get("id") == "judge")
    assert set(judge["env"]) == read
    used = set(re.findall(r"inputs\.(\w+)", ACTION.read_text()))
    assert used == set(action()["inputs"])
    variables = yaml.safe_load(TEMPLATE.read_text())[".testbed"]["variables"]
    assert read - {"SHARD"} <= set(variables)  # a job's own number is its shard


def test_the_page_names_every_input() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert [name for name in action()["inputs"] if f"`{name}`" not in page] == []


def test_the_defaults_of_action_template_and_script_are_the_same() -> None:
    judge = next(step for step in runs() if step.get("id") == "judge")
    variables = yaml.safe_load(TEMPLATE.read_text())[".testbed"]["variables"]
    in_script = dict(re.findall(r"\$\{([A-Z]+):-([^}]*)\}", SCRIPT.read_text()))
    for name, value in judge["env"].items():
        if found := re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value):
            default = action()["inputs"][found[1]]["default"]
            assert variables.get(name, "") == default == in_script[name], name


def test_bad_input_is_told_in_the_log_and_on_the_page(tmp_path: Path) -> None:
    given = {"RECIPE": "direct nosuch.yaml", "RESULTS": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([SCRIPT], env=given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nosuch.yaml:1: no such file; check the name" in done.stderr
    assert "ended with status 2" in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "tools.json").exists()
