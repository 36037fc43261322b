"""`testbed matrix` as far as nothing has to be run: what it prints, what it refuses, what it finds again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from testbed.campaign.cells import cells_of
from testbed.campaign.folder import Folder
from testbed.campaign.inputs import key_of
from testbed.campaign.load import load_matrix
from testbed.campaign.outcome import Outcome
from testbed.cli.matrix import command
from testbed.errors import InputError

FILE = (
    "matrix: m\ntitle: The title\ntools: [direct, ssh]\npolicies: [tm-2022]\nseeds: 1-2\n"
    "expect:\n  - {tool: direct, outcome: blocked}\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the matrix of these tests."""
    path = tmp_path / "m.yaml"
    path.write_text(FILE)
    return path


def called(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(each) for each in arguments], standalone_mode=False)


def done(file: Path, out: Path, words: dict[str, str], **changed: Any) -> None:
    """Leave outcomes as an earlier invocation would have."""
    matrix = load_matrix(file)
    with Folder(out).taken():
        for cell in cells_of(matrix):
            if cell.name in words:
                key = key_of(matrix, cell).as_json() | changed
                Folder(out).keep(Outcome(cell.name, words[cell.name], ("why",), key=key))


ALL_RIGHT = {"direct+tm-2022+1": "blocked", "direct+tm-2022+2": "blocked", "ssh+tm-2022+1": "ok", "ssh+tm-2022+2": "ok"}


def test_cells_are_printed_a_line_each(file: Path) -> None:
    assert called(file, "--print", "cells", "--only", "ssh+*").output == "ssh+tm-2022+1\nssh+tm-2022+2\n"
    assert called(file, "--print", "cells", "--shard", "2/3").output == "direct+tm-2022+2\n"


def test_githubs_matrix_is_one_line_that_a_job_can_keep(file: Path) -> None:
    printed = called(file, "--print", "github").output
    assert printed.count("\n") == 1
    assert [entry["cell"] for entry in json.loads(printed)["include"]] == list(ALL_RIGHT)
    shards = json.loads(called(file, "--print", "github", "--shards", "3").output)
    assert shards == {"include": [{"shard": "1/3"}, {"shard": "2/3"}, {"shard": "3/3"}]}
    many = json.loads(called(file, "--print", "github", "--shards", "9").output)
    assert len(many["include"]) == 4, "an empty shard is a job for nothing"


def test_what_github_would_refuse_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(FILE.replace("1-2", "1-200"))
    error = called(path, "--print", "github").exception
    assert isinstance(error, InputError)
    assert str(error) == "--print github: 400 cells, and GitHub starts 256 jobs at most; deal them out with --shards 16"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "shs*"], "--only shs*: fits no cell; they are named like `direct+tm-2022+1`"),
        (["--shard", "5/4"], "--shard 5/4: no shard; write `--shard 1/4`"),
        (["--shard", "0/4"], "--shard 0/4: no shard"),
        (["--fresh", "--no-run"], "--fresh runs everything, --no-run nothing"),
        (["--shards", "4"], "--shards belongs to `--print github`"),
    ],
)
def test_what_makes_no_sense_is_refused(file: Path, arguments: list[str], said: str) -> None:
    error = called(file, *arguments).exception
    assert error is not None and said in (getattr(error, "message", "") or str(error))


def test_a_folder_of_somebody_else_is_left_alone(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    error = called(file, "--no-run", "--out", tmp_path / "mine").exception
    assert isinstance(error, InputError) and "is not a matrix's" in str(error)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_two_matrices_do_not_share_a_folder(file: Path, tmp_path: Path) -> None:
    with Folder(tmp_path / "out").taken():
        error = called(file, "--no-run", "--out", tmp_path / "out").exception
    assert isinstance(error, InputError) and "another matrix is writing there" in str(error)


def test_earlier_outcomes_are_judged_anew_and_run_nothing(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(file, out, ALL_RIGHT)
    result = called(file, "--out", out, "--json")
    found = json.loads(result.stdout)
    assert (result.return_value, found["status"]) == (0, 0)
    assert found["counts"] == {"hold": 4, "fail": 0}
    assert all(cell["reused"] for cell in found["cells"])
    file.write_text(FILE.replace("outcome: blocked", "outcome: unstable"))
    again = called(file, "--out", out, "--no-run", "--json")
    assert again.return_value == 1
    assert [cell["holds"] for cell in json.loads(again.stdout)["cells"]] == [False, False, True, True]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ({**ALL_RIGHT, "ssh+tm-2022+2": "blocked"}, 1),
        ({**ALL_RIGHT, "ssh+tm-2022+2": "blocked", "ssh+tm-2022+1": "invalid"}, 1),
        ({**ALL_RIGHT, "ssh+tm-2022+2": "skipped"}, 3),
        ({name: word for name, word in ALL_RIGHT.items() if name != "ssh+tm-2022+2"}, 3),
        ({}, 3),
    ],
    ids=["one failed", "one failed, one proves nothing", "one skipped", "one missing", "nothing was run"],
)
def test_the_status_is_that_of_the_worst(file: Path, tmp_path: Path, words: dict[str, str], status: int) -> None:
    done(file, tmp_path / "out", words)
    assert called(file, "--no-run", "--out", tmp_path / "out").return_value == status


def test_gathered_outcomes_count_whatever_this_machine_has_installed(file: Path, tmp_path: Path) -> None:
    done(file, tmp_path / "out", ALL_RIGHT, programs="of another machine")
    assert called(file, "--no-run", "--out", tmp_path / "out").return_value == 0


def test_outcomes_of_other_inputs_do_not_count(file: Path, tmp_path: Path) -> None:
    done(file, tmp_path / "out", ALL_RIGHT, inputs="others")
    result = called(file, "--no-run", "--json", "--out", tmp_path / "out")
    assert {cell["outcome"] for cell in json.loads(result.stdout)["cells"]} == {"missing"}


def test_what_is_left_behind(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done(file, out, ALL_RIGHT)
    printed = called(file, "--no-run", "--out", out).stdout
    assert "The title" in printed and "4 of 4 cells as expected" in printed
    assert sorted(path.name for path in out.iterdir()) == [".lock", "cells", "junit.xml", "matrix.html", "matrix.json"]
    assert json.loads((out / "matrix.json").read_text())["title"] == "The title"
