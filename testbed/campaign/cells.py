"""From a matrix to its cells: the axes multiplied, exclusions taken away, additions put behind. Pure.

A cell's name is made of its coordinates, joined by `+`: `ssh+tm-2022+1` is the tool ssh under tm-2022 with seed 1. It
is a folder's name, an argument of `--only` and a line of CI's own matrix, so it needs no quotes anywhere.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePath

from testbed.campaign.spec import SCENARIO_WORDS, THROUGH_WORDS, TOOL_WORDS, Matrix, ToolEntry

Labels = tuple[str | None, str | None, str | None]
Coordinates = tuple[str | None, ToolEntry | None, str | None, int]
#: GitHub starts no more jobs from one matrix.
GITHUB_JOBS = 256


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to run. `scenario` and `policy` are references; `expected`: the words it may end with."""

    name: str
    scenario: str | None
    tool: ToolEntry | None
    policy: str | None
    seed: int
    turn: int
    expected: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The words it can end with, if it proves anything."""
        return words_for(self.scenario, self.tool)

    @property
    def row(self) -> str:
        """What is judged: the scenario, the tool, or one through the other."""
        tool = label_of(self.tool) if self.tool else None
        return " through ".join(filter(None, (label_of(self.scenario) if self.scenario else None, tool)))

    @property
    def column(self) -> str:
        """What it is judged under."""
        return label_of(self.policy) if self.policy else ""


def words_for(scenario: str | None, tool: ToolEntry | None) -> tuple[str, ...]:
    """Return the words a cell of these coordinates can end with."""
    return SCENARIO_WORDS if tool is None else TOOL_WORDS if scenario is None else THROUGH_WORDS


def label_of(reference: str | ToolEntry) -> str:
    """Return what a cell calls a file or a shipped name."""
    if isinstance(reference, ToolEntry):
        return reference.name or label_of(reference.recipe)
    is_file = "/" in reference or reference.endswith((".yaml", ".yml", ".py"))
    return PurePath(reference).stem if is_file else reference


def cells_of(matrix: Matrix) -> list[Cell]:
    """Return the cells in the order of the file: scenarios, tools, policies, seeds, turns, then additions."""
    found: list[Cell] = []
    for scenario, tool, policy, seed in coordinates(matrix):
        names = labels(scenario, tool, policy)
        expected = _expected(matrix, names, seed)
        for turn in range(1, matrix.repeat + 1):
            last = f"{seed}.{turn}" if matrix.repeat > 1 else str(seed)
            name = "+".join([*filter(None, names), last])
            found.append(Cell(name, scenario, tool, policy, seed, turn, expected))
    return found


def coordinates(matrix: Matrix, *, excluded: bool = False) -> Iterator[Coordinates]:
    """Yield scenario, tool, policy and seed of each cell; with `excluded` those too that the matrix leaves out."""
    if matrix.scenarios or matrix.tools:
        axes = (matrix.scenarios or (None,), matrix.tools or (None,), matrix.policies or (None,), matrix.seeds)
        for scenario, tool, policy, seed in product(*axes):
            if excluded or not any(entry.fits(*labels(scenario, tool, policy), seed) for entry in matrix.exclude):
                yield scenario, tool, policy, seed
    for item in matrix.include:
        for seed in item.seeds or matrix.seeds:
            yield item.scenario, item.tool, item.policy, seed


def labels(scenario: str | None, tool: ToolEntry | None, policy: str | None) -> Labels:
    """Return the names of a cell's coordinates."""
    one, two, three = (None if item is None else label_of(item) for item in (scenario, tool, policy))
    return one, two, three


def _expected(matrix: Matrix, names: Labels, seed: int) -> tuple[str, ...]:
    entry = next((entry for entry in matrix.expect if entry.fits(*names, seed)), None)
    if entry is not None:
        return entry.outcome
    return ("passed",) if names[1] is None else ("ok",)


def select(cells: Sequence[Cell], patterns: Sequence[str], shard: tuple[int, int] | None = None) -> list[Cell]:
    """Return the cells that one of the patterns fits (all without any), and of these every n-th from the i-th on.

    Dealing them out in turn gives each shard its part of every tool, so that shards take about the same time.
    """
    found = [c for c in cells if not patterns or any(fnmatch.fnmatchcase(c.name, pattern) for pattern in patterns)]
    return found if shard is None else found[shard[0] - 1 :: shard[1]]


def github(cells: Sequence[Cell]) -> dict[str, list[dict[str, str]]]:
    """Return the `matrix` of a GitHub Actions job: one entry a cell, `cell` being what `--only` takes."""
    entries = []
    for cell in cells:
        scenario, tool, policy = (label or "" for label in labels(cell.scenario, cell.tool, cell.policy))
        about = {"scenario": scenario, "tool": tool, "policy": policy, "seed": str(cell.seed)}
        entries.append({"cell": cell.name, **about})
    return {"include": entries}


def github_shards(count: int) -> dict[str, list[dict[str, str]]]:
    """Return the `matrix` of a GitHub Actions job that deals the cells out, `shard` being what `--shard` takes."""
    return {"include": [{"shard": f"{number}/{count}"} for number in range(1, count + 1)]}
