"""`testbed policy explain` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from testbed.cli.main import cli
from testbed.errors import InputError

POLICY = """policy: p
title: t
rules:
  - name: one
    match: {dns: {patterns: [=z.example, "*A.example*"]}}
    action: {dns_answer: {}}
    evidence: {mark: U, source: x}
  - name: two
    match:
      sni:
        lists: [l.txt]
        patterns:
          - =z.example
          - "*a.example*"
    action: {rst: {}}
    evidence: {mark: U, source: x}
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "l.txt").write_text("# c\n.listed.example\n")
    (path := tmp_path / "p.yaml").write_text(POLICY)
    return path


@pytest.mark.parametrize("verb", [("policy", "explain"), ("explain",)])
def test_each_hit_names_its_file_and_line(policy: Path, verb: tuple[str, ...]) -> None:
    done = call(*verb, "A.example.", "--policy", str(policy), "--json")
    assert done.return_value == 0, done.output
    told = json.loads(done.stdout)
    assert (told["policy"], told["name"]) == ("p", "a.example")
    assert [(hit["way"], hit["place"]) for hit in told["hits"]] == [("DNS", f"{policy}:5"), ("HTTPS", f"{policy}:14")]
    listed = json.loads(call(*verb, "x.listed.example", "--policy", str(policy), "--json").stdout)["hits"]
    assert [hit["place"] for hit in listed] == [f"{policy.parent / 'lists' / 'l.txt'}:2"]


def test_against_a_list_of_ones_own(policy: Path, tmp_path: Path) -> None:
    (own := tmp_path / "own.txt").write_text("# mine\nA.example\nba.example\nother.org\n")
    done = call("explain", "a.example", "--policy", str(policy), "--against", str(own))
    assert "it also hits 1 of 3 well-known names, 1 of them by accident: ba.example" in done.output


def test_bad_input_is_status_two(policy: Path, tmp_path: Path) -> None:
    for arguments in (("--policy", "nope"), ("--policy", str(policy), "--against", str(tmp_path / "none.txt"))):
        done = call("explain", "a.example", *arguments)
        assert isinstance(done.exception, InputError)
        assert done.exception.exit_status == 2


def test_an_international_name_is_asked_for_as_on_the_wire(policy: Path) -> None:
    policy.write_text(POLICY.replace("=z.example, ", "=пример.рф, "))
    told = json.loads(call("explain", "Пример.рф.", "--policy", str(policy), "--json").stdout)
    assert (told["name"], [hit["pattern"] for hit in told["hits"]]) == (
        "xn--e1afmkfd.xn--p1ai",
        ["=xn--e1afmkfd.xn--p1ai"],
    )


@pytest.mark.parametrize("name", ["", ".", "https://a.example/", "a.example:443", "*a.example*", "ü..example"])
def test_what_is_no_name_is_status_two(name: str) -> None:
    done = call("explain", name)
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_status == 2
