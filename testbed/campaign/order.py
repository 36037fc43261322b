"""A cell as it is carried out, here or on another machine: the verb, its words, and the files that only we have.

Files are named by their absolute paths. Where an order is carried out elsewhere, the tree of its files stands below a
folder there (`root`), and every path is looked for below it first; what ships with the testbed is named, not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testbed import shipped
from testbed.campaign.cells import Cell
from testbed.campaign.inputs import files_of
from testbed.campaign.spec import Matrix
from testbed.campaign.through import cast, users
from testbed.scenario.load import load_scenario, resolved, with_files
from testbed.tools.recipe import load_recipe
from testbed.units import format_duration

#: The folders whose contents every installation has
_SHIPPED = ("scenarios", "scenarios/links", "policies", "policies/lists", "recipes")


@dataclass(frozen=True, slots=True)
class Order:
    """What a cell asks a machine to do. Plain data, so that it can be sent.

    `scenario`: a shipped name, or the whole document; `users`: its apps that go through the tool.
    """

    cell: str
    kind: str
    """`scenario`, `tool` or `through`."""
    scenario: str | Mapping[str, Any] | None
    recipe: str | None
    words: tuple[str, ...]
    """The rest of the command line, files by `@path`."""
    users: tuple[str, ...]
    timeout_s: float
    files: tuple[str, ...]
    """Absolute paths of the files that no other machine has."""


def order_of(matrix: Matrix, cell: Cell, *, plugins: bool = False) -> Order:
    """Return the order for a cell."""
    own = tuple(sorted(str(path.resolve()) for path in files_of(matrix, cell) if not _is_shipped(path)))
    capture = "--capture" if matrix.capture else "--no-capture"
    seed = ("--seed", str(cell.seed), capture)
    recipe = _named(cell.tool.recipe) if cell.tool is not None else None
    if cell.scenario is None:
        assert cell.tool is not None and cell.policy is not None
        test = matrix.test
        words = [
            "--policy", _named(cell.policy), "--link", _named(test.link), "--connections", str(test.connections),
            "--soak", format_duration(test.soak), "--timeout", format_duration(test.timeout), *seed,
            *(word for name, value in cell.tool.options.items() for word in ("--set", f"{name}={value}")),
            *(("--control", test.control) if test.control else ()),
        ]  # fmt: skip
        return Order(cell.name, "tool", None, recipe, tuple(words), (), matrix.timeout, own)
    scenario = cast(load_scenario(cell.scenario), cell.tool, cell.policy)
    asked: str | Mapping[str, Any] = cell.scenario
    if cell.tool is not None or cell.policy is not None or _named(cell.scenario) != cell.scenario:
        asked = resolved(scenario)
    words = [*seed, "--no-plots", *(["--allow-plugins"] if plugins else [])]
    kind = "scenario" if cell.tool is None else "through"
    going = tuple(sorted(users(scenario))) if cell.tool is not None else ()
    return Order(cell.name, kind, asked, recipe, tuple(words), going, matrix.timeout, own)


def _is_shipped(path: Path) -> bool:
    return path.parent.resolve() in {shipped.folder(name).resolve() for name in _SHIPPED}


def _named(reference: str) -> str:
    """Return a shipped name as it is, a file as `@/its/path`."""
    is_file = "/" in reference or reference.endswith((".yaml", ".yml", ".py"))
    return f"@{Path(reference).resolve()}" if is_file else reference


def argv_of(order: Order, folder: Path, root: Path | None) -> list[str]:
    """Return the words behind `testbed` for an order, its run directory at `folder/run`; writes the scenario's file."""

    def placed(word: str) -> str:
        return rooted(word[1:], root) if word.startswith("@") else word

    words = [placed(word) for word in order.words]
    if order.kind == "tool":
        assert order.recipe is not None
        return ["tool", placed(order.recipe), *words, "--keep", str(folder / "run")]
    scenario = order.scenario
    if isinstance(scenario, Mapping):
        document = with_files(dict(scenario), lambda path: rooted(path, root))
        path = folder / "scenario.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        scenario = str(path)
    return ["run", str(scenario), *words, "--into", str(folder / "run")]


def rooted(path: str, root: Path | None) -> str:
    """Return where a file stands below the tree that was sent, or the path itself if it was not."""
    sent = None if root is None else root / path.lstrip("/")
    return str(sent) if sent is not None and sent.exists() else path


def needs(order: Order, root: Path | None) -> list[str]:
    """Return what this machine lacks for an order's tool, each with the way to get it."""
    from testbed.tools.runner import missing

    if order.recipe is None:
        return []
    reference = rooted(order.recipe[1:], root) if order.recipe.startswith("@") else order.recipe
    return missing(load_recipe(reference))
