"""`testbed report` as it is called."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from testbed.cli.report import command
from tests.report.runs import result, written


def test_output_holds_the_page_the_tables_and_the_plots(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(written(tmp_path / "run")), "--output", str(tmp_path / "out")])
    assert done.exception is None
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.html", "apps.csv", "link.csv", "rate.svg", "rate.png", "rtt.png", "timeline.svg"} <= names
    assert (tmp_path / "out" / "rate.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("status", "verdict", "exit_status"), [("failed", "slow", 0), ("failed", "blocked", 1), ("invalid", "blocked", 3)]
)
def test_compare_exits_by_whether_the_second_is_worse(
    tmp_path: Path, status: str, verdict: str, exit_status: int
) -> None:
    other = copy.deepcopy(result(status))
    other["apps"][0]["verdict"] = verdict
    two = [str(written(tmp_path / "a")), str(written(tmp_path / "b", other))]
    done = CliRunner().invoke(command, ["--compare", *two, "--json"], standalone_mode=False)
    assert done.return_value == exit_status
    answer = json.loads(done.stdout)
    assert (answer["status"], bool(answer["differences"])) == (exit_status, verdict == "blocked" or status == "invalid")


@pytest.mark.parametrize("arguments", [[], ["x", "--compare", "a", "b"]])
def test_what_is_asked_must_be_clear(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, arguments).exit_code == 2


def test_brackets_and_colons_are_words_and_no_mark_up(tmp_path: Path) -> None:
    odd = copy.deepcopy(result())
    odd["title"] = odd["scenario"] = "A [/red] :x: [draft]"
    odd["phases"][0]["name"] = odd["apps"][0]["phase"] = "[/b]"
    one, two = str(written(tmp_path / "a", odd)), str(written(tmp_path / "b"))
    for arguments in ([one], [one, two], ["--compare", one, two]):
        done = CliRunner().invoke(command, arguments)
        assert done.exception is None, arguments
        said = "".join(done.stdout.split())
        assert "A[/red]:x:[draft]" in said or "--compare" in arguments
        assert "[/b]" in said or len(arguments) == 2, arguments
