"""`testbed tool` before and behind its sandboxes: what is refused at once, what results are called, where they lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from testbed.cli import live, tool
from testbed.errors import InputError, UnfaithfulError
from testbed.run.tool_result import nothing_of
from testbed.tools.recipe import load_recipe

RATE = {"ok": 1, "of": 1, "failures": {}, "first_byte_s": {"p50": 1.0, "p90": 1.0}}
PASSES = {"policy": "open", "verdict": "passes", "why": [], "success": RATE}


def call(*words: str) -> Result:
    return CliRunner().invoke(tool.command, list(words), standalone_mode=False)


def refused(*words: str) -> str:
    error = call(*words).exception
    assert isinstance(error, InputError), error
    return str(error)


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Pretend that every tool passes; return the jobs."""
    jobs: list[dict[str, Any]] = []

    def play(job: dict[str, Any], folder: Path) -> int:
        jobs.append(job)
        folder.mkdir(parents=True, exist_ok=True)
        policies = [PASSES, *({**PASSES, "policy": label} for label in job["labels"].values())]
        result = {**nothing_of(load_recipe(job["recipe"]), job), "policies": policies}
        (folder / "result.json").write_text(json.dumps(result))
        return 0

    monkeypatch.setattr(live, "play", play)
    return jobs


def test_every_recipe_is_read_before_the_first_is_tested(plays: list[dict[str, Any]]) -> None:
    assert refused("direct", "nosuch.yaml") == "nosuch.yaml:1: no such file; check the name"
    assert plays == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("direct", "--control", "facebook"), "--control facebook: not a page; write it as `https://site.example/`"),
        (("no-sni", "--control", "http://a.example/"), "--control http://a.example/: no-sni fetches pages itself"),
        (("direct", "--link", "nosuch"), "nosuch: no such link"),
        (("direct", "--timeout", "0"), "--timeout 0: too short; give 0.1 s or more"),
        (("direct", "--soak", "9"), "--soak 9: '9' has no unit; write it like"),
        (("ssh", "--set", "prot=1"), "--set prot=1: no option `prot`; did you mean `port`?"),
        (("ssh", "--set", "port=x"), "--set port=x: the option `port` is a whole number; write digits"),
        (("direct", "--junit", "no/where.xml"), "no/where.xml: can't be written; give another place"),
        (("direct", "--baseline", "no.json"), "no.json: can't be read: No such file or directory; give what"),
    ],
)
def test_what_can_not_be_done_is_said_at_once(plays: list[dict[str, Any]], words: tuple[str, ...], said: str) -> None:
    assert refused(*words).startswith(said)
    assert plays == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tools": 1}', '{"tools": [{}]}', '{"tools": [{"recipe": "r"}]}'])
def test_a_baseline_that_is_none_is_said(plays: list[dict[str, Any]], tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    assert refused("direct", "--baseline", str(path)).startswith(f"{path}: not an earlier result; give what")


def test_a_policys_file_has_the_same_name_on_every_machine(plays: list[dict[str, Any]], tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("policy: mine\ntitle: T\nextends: tm-2022\n")
    found = call("direct", "--policy", "tm-2022", "--policy", str(own), "--policy", "tm-2022", "--json")
    data = json.loads(found.stdout)
    assert [item["policy"] for item in data["tools"][0]["policies"]] == ["open", "tm-2022", "mine"]
    assert data["status"] == found.return_value == 0
    assert plays[0]["policies"] == ["tm-2022", str(own)]


def test_a_kept_run_lies_beside_an_earlier_one(plays: list[dict[str, Any]], tmp_path: Path) -> None:
    for _ in range(2):
        assert call("direct", "--keep", str(tmp_path), "--result", str(tmp_path / "r.json")).return_value == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["direct", "direct-2", "r.json"]
    assert json.loads((tmp_path / "r.json").read_text())["tools"][0]["run"] == str(tmp_path / "direct-2")


@pytest.mark.parametrize(("status", "left"), [(3, 3), (4, 4), (UnfaithfulError("it was killed"), 3)])
def test_a_test_that_breaks_off_spoils_no_other(
    plays: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, status: int | Exception, left: int
) -> None:
    well = live.play

    def play(job: dict[str, Any], folder: Path) -> int:
        if job["recipe"] != "direct":
            return well(job, folder)
        if isinstance(status, Exception):
            raise status
        return status

    monkeypatch.setattr(live, "play", play)
    found = call("direct", "ssh", "--json")
    direct, ssh = json.loads(found.stdout)["tools"]
    assert found.return_value == left
    assert direct["policies"][0]["verdict"] == "invalid"
    assert f"the test of direct ended with status {left}" in direct["policies"][0]["why"][0]
    assert ssh["policies"][0]["verdict"] == "passes"
    assert set(direct) == set(ssh)


def test_options_may_stand_before_the_recipe(plays: list[dict[str, Any]]) -> None:
    assert call("--policy", "china", "direct", "--json").return_value == 0
    assert plays[0]["policies"] == ["china"]
    assert "testbed tool test --help" in call("--help").output
