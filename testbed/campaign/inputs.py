"""What a cell's outcome depends on: every file it is read from, the programs it starts, and the testbed itself.

The digests are the reason why a second invocation runs only what changed, and the files are what a worker elsewhere is
given. Programs are taken by their contents: a developer's new build is a new tool, whatever its recipe says.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import testbed
from testbed import shipped
from testbed.campaign.cells import Cell, labels
from testbed.campaign.spec import Matrix
from testbed.documents import read_document
from testbed.dpi.match import NAME_KEYS
from testbed.dpi.policy import load_policy
from testbed.scenario.load import load_scenario
from testbed.tools.recipe import Recipe, load_recipe
from testbed.tools.runner import search_path

_GEOGRAPHY = "geo-emulated.csv"
_SOURCES = ("*.py", "*.yaml", "*.j2")


@dataclass(frozen=True, slots=True)
class Key:
    """Digests: of what is asked and of the testbed (`inputs`), and of the programs on this machine (`programs`)."""

    inputs: str
    programs: str

    def as_json(self) -> dict[str, str]:
        """Return plain data."""
        return {"inputs": self.inputs, "programs": self.programs}


def key_of(matrix: Matrix, cell: Cell) -> Key:
    """Return the key of a cell: equal keys, equal runs, as far as a seed can promise it."""
    scenario, _, policy = labels(cell.scenario, cell.tool, cell.policy)
    asked = {
        "scenario": scenario, "tool": dict(cell.tool.options) if cell.tool else None, "policy": policy,
        "seed": cell.seed, "turn": cell.turn, "capture": matrix.capture,
        "test": matrix.test.model_dump(mode="json") if cell.scenario is None else None,
    }  # fmt: skip
    contents = sorted((path.name, _digest_of(path)) for path in files_of(matrix, cell))
    text = json.dumps([testbed.__version__, source_digest(), asked, contents], sort_keys=True)
    found = [(name, _digest_of(Path(path)) if (path := _where(name)) else "") for name in sorted(programs_of(cell))]
    return Key(_digest(text.encode()), _digest(json.dumps(found).encode()))


def files_of(matrix: Matrix, cell: Cell) -> frozenset[Path]:
    """Return every file that a cell is read from, shipped ones too."""
    recipe = cell.tool.recipe if cell.tool is not None else None
    return _files(cell.scenario, recipe, cell.policy, matrix.test.link)


@cache
def _files(scenario: str | None, recipe: str | None, policy: str | None, link: str) -> frozenset[Path]:
    found: set[Path] = set(_link(link) if scenario is None else _scenario(scenario))
    if policy is not None:
        found |= set(_policy(policy))
    if recipe is not None:
        found |= set(_recipe(recipe))
    return frozenset(found)


def _scenario(reference: str) -> Iterator[Path]:
    yield from _chain(shipped.find(reference, "scenarios"), "scenarios", beside=False)
    scenario = load_scenario(reference)
    for policy in {*scenario.box_policies.values(), *(step.policy for step in scenario.timeline if step.policy)}:
        yield from _policy(policy)
    for link in (scenario.link, *(step.link for step in scenario.timeline)):
        yield from _link(link)
    for tool in scenario.tools:
        yield from _recipe(tool.recipe)


def _link(link: Any) -> Iterator[Path]:
    if isinstance(link, str) and link != "none":
        yield shipped.find(link, "scenarios/links")


def _recipe(reference: str) -> Iterator[Path]:
    yield from _chain(shipped.find(reference, "recipes"), "recipes", beside=True)


def _chain(path: Path, kind: str, *, beside: bool) -> Iterator[Path]:
    """Yield a file and those it extends, which its loader found to be there."""
    while True:
        yield path
        base = read_document(path).data.get("extends")
        if base is None:
            return
        path = _base(path, str(base), kind, beside=beside)


def _base(path: Path, base: str, kind: str, *, beside: bool) -> Path:
    is_file = "/" in base or base.endswith((".yaml", ".yml"))
    own = path.parent / base
    return own if is_file and (beside or own.exists()) else shipped.find(base, kind)


def _policy(reference: str) -> Iterator[Path]:
    path = shipped.find(reference, "policies")
    if path.suffix == ".py":
        yield path
        return
    chain = list(_chain(path, "policies", beside=True))
    yield from chain
    policy = load_policy(reference)
    matches = [match for rule in policy.rules for match in rule.match.walk()]
    wanted = {name for match in matches for name in match.address_lists}
    wanted |= {name for m in matches for key in NAME_KEYS if (names := getattr(m, key)) for name in names.lists}
    if any(match.countries or match.networks for match in matches):
        wanted.add(_GEOGRAPHY)
    folders = [*(file.parent / "lists" for file in chain), shipped.folder("policies") / "lists"]
    for name in sorted(wanted):
        yield from [folder / name for folder in folders if (folder / name).is_file()][:1]
    for text in {match.plugin for match in matches if match.plugin is not None}:
        kind, _, rest = text.partition(":")
        yield path.parent / (rest.rpartition(":")[0] if kind == "python" else rest.partition("@")[0])


def programs_of(cell: Cell) -> frozenset[str]:
    """Return the programs that a cell starts: those its recipes need, files they are given, and its `command` apps'."""
    return _programs(cell.scenario, cell.tool.recipe if cell.tool is not None else None)


@cache
def _programs(scenario: str | None, recipe: str | None) -> frozenset[str]:
    recipes = {recipe} if recipe is not None else set()
    found: set[str] = set()
    if scenario is not None:
        loaded = load_scenario(scenario)
        found |= {str(app.params["argv"][0]) for app in loaded.apps if app.app == "command"}
        recipes |= {entry.recipe for entry in loaded.tools} if recipe is None else set()
    for tool in map(load_recipe, recipes):
        found |= {*tool.needs.programs, *tool.needs.files, *_scripts(tool)}
    return frozenset(found)


def _scripts(recipe: Recipe) -> Iterator[str]:
    """Yield the files that a recipe's programs are given by their places: an interpreter's script is the tool."""
    launches = (launch.argv for launch in (*recipe.server, *recipe.client))
    for argv in (*recipe.setup, *launches, recipe.use.command, recipe.use.wrapper):
        yield from (word for word in argv if word.startswith("/") and Path(word).is_file())


def _where(program: str) -> str | None:
    return shutil.which(program, path=search_path()) or (program if program.startswith("/") else None)


@cache
def source_digest() -> str:
    """Return the digest of the testbed's own sources: whoever changes them wants to see the difference."""
    root = Path(testbed.__file__).parent
    paths = sorted(path for pattern in _SOURCES for path in root.rglob(pattern))
    return _digest_all((path.relative_to(root).as_posix(), path) for path in paths)


def _digest_all(items: Iterable[tuple[str, Path]]) -> str:
    return _digest(json.dumps([(name, _digest_of(path)) for name, path in items]).encode())


@cache
def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""  # whoever reads it next says what is wrong with it


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
