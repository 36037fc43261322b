"""What a matrix file says: the axes, what is left out or added, and what each cell must come to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from testbed.documents import Strict
from testbed.units import Duration

Word = Literal["ok", "slow", "unstable", "blocked", "broken", "passed", "failed", "any"]
#: How a cell can end, by what it is; `any` expects nothing. What proves nothing is none of these.
TOOL_WORDS = ("ok", "unstable", "blocked", "broken")
THROUGH_WORDS = ("ok", "slow", "blocked", "broken")
SCENARIO_WORDS = ("passed", "failed")

_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_MOST_SEEDS = 10_000


def _seeds(value: object) -> object:
    """Read `1-5` as five seeds, in a list or alone."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, Sequence):
        return value
    found: list[object] = []
    for item in value:
        span = _RANGE.fullmatch(item) if isinstance(item, str) else None
        if isinstance(item, str) and span is None:
            raise ValueError(f"{item!r} is no seed; write numbers or a range like `1-5`")
        if span is None:
            found.append(item)
        elif not int(span[1]) <= int(span[2]) < int(span[1]) + _MOST_SEEDS:
            raise ValueError(f"{item!r} is no range; put the smaller number first, at most {_MOST_SEEDS:,} seeds")
        else:
            found += range(int(span[1]), int(span[2]) + 1)
    return tuple(found)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _label(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise ValueError(f"{value!r} can't be a name; use letters, digits, `-`, `_` and `.`, 1 to 64 of them")
    return value


def _page(value: str) -> str:
    if not re.match(r"https?://[^/]", value):
        raise ValueError(f"{value!r} is no page; write it as `https://site.example/`")
    return value


Name = Annotated[str, AfterValidator(_label)]
Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...],
    BeforeValidator(_seeds),
    Field(min_length=1),
    WithJsonSchema({
        "anyOf": [
            {"type": "integer"}, {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
            {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "minItems": 1},
        ]
    }),
]  # fmt: skip
_TEXTS = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]})
Texts = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1), _TEXTS]
Words = Annotated[
    tuple[Word, ...],
    BeforeValidator(_one_or_more),
    Field(min_length=1),
    WithJsonSchema({
        "anyOf": [
            {"enum": [*Word.__args__]}, {"type": "array", "items": {"enum": [*Word.__args__]}, "minItems": 1},
        ]
    }),
]  # fmt: skip


class ToolEntry(Strict):
    """A circumvention tool; a recipe's name or file alone is enough."""

    recipe: str
    """A recipe's name or file."""
    name: Name | None = None
    """What cells call it; without it the recipe's name."""
    options: Mapping[str, str | int] = {}
    """Values for the recipe's options."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"recipe": value} if isinstance(value, str) else value


class Selection(Strict):
    """Cells, by their names on the axes: one, or a list. What isn't said is any."""

    scenario: Texts | None = None
    """Scenarios."""
    tool: Texts | None = None
    """Tools."""
    policy: Texts | None = None
    """Policies."""
    seed: Seeds | None = None
    """Seeds: numbers, or a range like `1-5`."""

    def fits(self, scenario: str | None, tool: str | None, policy: str | None, seed: int) -> bool:
        """Say whether a cell is among them."""
        pairs = ((self.scenario, scenario), (self.tool, tool), (self.policy, policy), (self.seed, seed))
        return all(wanted is None or found in wanted for wanted, found in pairs)


class Expected(Selection):
    """What cells must come to; the first entry that fits a cell counts."""

    outcome: Words
    """A tool: `ok`, `unstable`, `blocked`, `broken`; a scenario: `passed`, `failed`; a scenario through a tool: `ok`,
    `slow`, `blocked`, `broken`; `any` is shown and not judged. One, or a list of those that are right."""


class Addition(Strict):
    """A cell beside those of the axes, once for each seed."""

    scenario: str | None = None
    """A scenario's name or file."""
    tool: ToolEntry | None = None
    """A tool."""
    policy: str | None = None
    """A policy's name or file."""
    seeds: Seeds | None = None
    """Its seeds; without it those of the matrix."""


class ToolTest(Strict):
    """How a tool is tested, as by `testbed tool`."""

    link: str = "national-2021"
    """The national link: a name, a file, or `none` for unshaped."""
    connections: int = Field(default=5, ge=1, le=1000)
    """How many connections are tried."""
    soak: Duration = 0.0
    """How long it is used while the policy comes and goes."""
    timeout: Annotated[Duration, Field(ge=0.1)] = 10.0
    """Of each connection."""
    control: Annotated[str, AfterValidator(_page)] | None = None
    """A site that the policies block; without it one is found by trying."""


class Matrix(Strict):
    """A matrix."""

    matrix: Name
    """Its name."""
    title: str
    """One line for people."""
    about: str = ""
    """What it shows."""
    scenarios: tuple[str, ...] = ()
    """Scenarios by name or file, each played as by `testbed run`."""
    tools: tuple[ToolEntry, ...] = ()
    """Tools, each tested as by `testbed tool`; beside `scenarios`, the scenarios are played through them."""
    policies: tuple[str, ...] = ()
    """Policies by name or file: what tools are tested under, or what a scenario begins with instead of its own."""
    seeds: Seeds = (1,)
    """Numbers, or a range like `1-5`."""
    repeat: int = Field(default=1, ge=1, le=1000)
    """How often each cell is run."""
    timeout: Annotated[Duration, Field(gt=0)] = 600.0
    """A run that takes longer is ended and proves nothing."""
    capture: bool = False
    """Keep pcapng files of each box's sides."""
    test: ToolTest = ToolTest()
    """How tools are tested."""
    include: tuple[Addition, ...] = ()
    """Cells beside those of the axes."""
    exclude: tuple[Selection, ...] = ()
    """Cells that are left out."""
    expect: tuple[Expected, ...] = ()
    """What cells must come to. Where none fits, a scenario must be `passed` and a tool `ok`."""
