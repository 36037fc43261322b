"""Cells: the axes multiplied, what is taken away and added, what each must come to, and the parts for CI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.campaign.cells import cells_of, github, github_shards, select
from testbed.campaign.spec import Matrix


def matrix(**changed: Any) -> Matrix:
    return Matrix.model_validate({"matrix": "m", "title": "T", **changed})


TWO_BY_TWO = {"tools": ["direct", {"recipe": "./a/mine.yaml"}], "policies": ["tm-2022", "./my-wall.yaml"]}


def names(made: Matrix) -> list[str]:
    return [cell.name for cell in cells_of(made)]


def test_the_axes_are_multiplied_in_the_order_of_the_file() -> None:
    assert names(matrix(**TWO_BY_TWO, seeds="1-2")) == [
        "direct+tm-2022+1", "direct+tm-2022+2", "direct+my-wall+1", "direct+my-wall+2",
        "mine+tm-2022+1", "mine+tm-2022+2", "mine+my-wall+1", "mine+my-wall+2",
    ]  # fmt: skip


def test_scenarios_stand_alone_or_go_through_tools() -> None:
    assert names(matrix(scenarios=["a", "b"])) == ["a+1", "b+1"]
    assert names(matrix(scenarios=["a"], tools=["ssh"])) == ["a+ssh+1"]
    (cell,) = cells_of(matrix(scenarios=["a"], tools=["ssh"]))
    assert (cell.row, cell.column, cell.words) == ("a through ssh", "", ("ok", "slow", "blocked", "broken"))


def test_repeats_are_told_apart() -> None:
    assert names(matrix(scenarios=["a"], repeat=2, seeds=[7])) == ["a+7.1", "a+7.2"]


def test_exclusions_take_cells_away_and_additions_come_behind() -> None:
    made = matrix(
        **TWO_BY_TWO,
        exclude=[{"tool": "mine", "policy": "my-wall"}],
        include=[{"tool": "ssh", "policy": "open", "seeds": [4]}, {"scenario": "imo-goes-dark"}],
    )
    assert names(made) == ["direct+tm-2022+1", "direct+my-wall+1", "mine+tm-2022+1", "ssh+open+4", "imo-goes-dark+1"]


def test_without_axes_only_additions_are_run() -> None:
    assert names(matrix(include=[{"scenario": "a", "seeds": "1-2"}], policies=["tm-2022"])) == ["a+1", "a+2"]


def test_the_first_expectation_that_fits_counts() -> None:
    made = matrix(
        **TWO_BY_TWO,
        expect=[
            {"tool": "direct", "policy": "my-wall", "outcome": "any"},
            {"tool": ["direct"], "outcome": ["blocked", "unstable"]},
        ],
    )
    assert [cell.expected for cell in cells_of(made)] == [("blocked", "unstable"), ("any",), ("ok",), ("ok",)]


def test_without_one_a_scenario_must_pass() -> None:
    assert cells_of(matrix(scenarios=["a"]))[0].expected == ("passed",)


def test_patterns_select_and_shards_deal_out() -> None:
    cells = cells_of(matrix(**TWO_BY_TWO, seeds="1-2"))
    assert [cell.name for cell in select(cells, ["mine+*+2", "direct+tm-2022+1"])] == [
        "direct+tm-2022+1", "mine+tm-2022+2", "mine+my-wall+2",
    ]  # fmt: skip
    shards = [select(cells, [], (number, 3)) for number in (1, 2, 3)]
    assert [len(shard) for shard in shards] == [3, 3, 2]
    assert sorted(cell.name for shard in shards for cell in shard) == sorted(cell.name for cell in cells)


def test_githubs_matrix_is_flat_text() -> None:
    (first, *_) = github(cells_of(matrix(**TWO_BY_TWO)))["include"]
    assert first == {"cell": "direct+tm-2022+1", "scenario": "", "tool": "direct", "policy": "tm-2022", "seed": "1"}
    assert json.loads(json.dumps(github_shards(2))) == {"include": [{"shard": "1/2"}, {"shard": "2/2"}]}


@pytest.mark.parametrize("seeds", [5, [5], "5-5", ["5-5"]])
def test_seeds_are_written_as_one_likes(seeds: object) -> None:
    assert matrix(scenarios=["a"], seeds=seeds).seeds == (5,)
