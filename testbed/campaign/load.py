"""Matrix files: YAML to a checked `Matrix`. All problems at once, each with its line and its mend.

Files that a matrix names (`scenarios: [./mine.yaml]`) stand beside it, or below the folder where the command was
called.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from testbed import shipped
from testbed.campaign.cells import cells_of, coordinates, label_of, labels, words_for
from testbed.campaign.spec import Expected, Matrix, Selection, ToolEntry
from testbed.campaign.through import cast
from testbed.documents import Document, Location, read_document, validate
from testbed.dpi.policy import load_policy, refuse_program
from testbed.errors import InputError, Problem
from testbed.link.load import load_link
from testbed.scenario.load import load_scenario
from testbed.tools.recipe import load_recipe
from testbed.tools.render import wrong_options

Named = tuple[str | None, str | None, str | None, int]
_MOST_CELLS = 100_000


def load_matrix(reference: str | Path) -> Matrix:
    """Load a matrix by shipped name or path, all that it names looked at; `InputError` lists every problem."""
    path = shipped.find(reference, "matrices")
    if not path.exists() and path.parent == shipped.folder("matrices"):
        known = shipped.names("matrices")
        near = difflib.get_close_matches(str(reference), known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}, or give a file"
        raise InputError([Problem(str(reference), "no such matrix", mend)])
    document = _anchored(read_document(path), path.parent)
    matrix = validate(document, Matrix)
    problems = problems_of(document, matrix)
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return matrix


def _anchored(document: Document, folder: Path) -> Document:
    """Turn the files that a document names into paths that are right from where the command was called."""

    def beside(value: Any) -> Any:
        if not isinstance(value, str) or not ("/" in value or value.endswith((".yaml", ".yml", ".py"))):
            return value
        own = folder / value
        return str(own if own.exists() or not Path(value).exists() else Path(value))

    def within(value: Any, *keys: str) -> Any:
        return {k: beside(v) if k in keys else v for k, v in value.items()} if isinstance(value, dict) else value

    def tool(value: Any) -> Any:
        return within(value, "recipe") if isinstance(value, dict) else beside(value)

    def addition(value: Any) -> Any:
        found = within(value, "scenario", "policy")
        return {**found, "tool": tool(found["tool"])} if isinstance(found, dict) and "tool" in found else found

    changes: dict[str, Callable[[Any], Any]] = {
        "scenarios": beside, "policies": beside, "tools": tool, "include": addition,
    }  # fmt: skip
    data = dict(document.data)
    for key, change in changes.items():
        if isinstance(data.get(key), list):
            data[key] = [change(item) for item in data[key]]
    data["test"] = within(data.get("test", {}), "link")
    return Document(document.path, data, document.lines, document.origins)


def problems_of(document: Document, matrix: Matrix) -> list[Problem]:
    """Return everything that is wrong with a matrix of the right form."""
    found = [*_references(document, matrix), *_twins(document, matrix)]
    if found:
        return found
    count = sum(1 for _ in coordinates(matrix)) * matrix.repeat
    if not count:
        return [document.problem((), "no cell is left to run", "name `scenarios`, or `tools` with `policies`")]
    if count > _MOST_CELLS:
        return [document.problem((), f"{count:,} cells", f"stay below {_MOST_CELLS:,}: run several matrices")]
    return [*_incomplete(document, matrix), *_impossible(document, matrix), *_selections(document, matrix)]


def _references(document: Document, matrix: Matrix) -> list[Problem]:
    """Return what is wrong with the files and names on the axes, at the place where they are named."""
    found: list[Problem] = []
    for index, scenario in enumerate(matrix.scenarios):
        found += _loads(document, ("scenarios", index), load_scenario, scenario)
    for index, policy in enumerate(matrix.policies):
        found += _loads(document, ("policies", index), load_policy, policy)
    for index, tool in enumerate(matrix.tools):
        found += _tool(document, ("tools", index), tool)
    for index, item in enumerate(matrix.include):
        place = ("include", index)
        if item.scenario is not None:
            found += _loads(document, (*place, "scenario"), load_scenario, item.scenario)
        if item.policy is not None:
            found += _loads(document, (*place, "policy"), load_policy, item.policy)
        if item.tool is not None:
            found += _tool(document, (*place, "tool"), item.tool)
        if item.scenario is None and item.tool is None:
            found.append(document.problem(place, "a cell of nothing", "name a `scenario` or a `tool`"))
    return found + _loads(document, ("test", "link"), load_link, matrix.test.link)


def _tool(document: Document, place: Location, tool: ToolEntry) -> list[Problem]:
    problems = _loads(document, place, load_recipe, tool.recipe)
    if problems:
        return problems
    wrong = wrong_options(load_recipe(tool.recipe), tool.options)
    return [document.problem((*place, "options", name), what, mend) for name, (what, mend) in wrong.items()]


def _loads(document: Document, place: Location, load: Callable[[str], Any], reference: str) -> list[Problem]:
    """Return why something can't be loaded: at the place where it is named, or in its own file."""
    try:
        load(reference)
    except InputError as error:
        return [
            p if ":" in p.place and p.what != "no such file" else document.problem(
                place, f"`{reference}`: {p.what}", p.mend
            )
            for p in error.problems
        ]  # fmt: skip
    return []


def _unknown(document: Document, place: Location, what: str, name: str, known: Sequence[str]) -> Problem:
    near = difflib.get_close_matches(name, known, 1)
    mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known) or 'none'}"
    return document.problem(place, what, mend)


def _twins(document: Document, matrix: Matrix) -> list[Problem]:
    """Two things on an axis can't have one name: cells are told apart by it."""
    found: list[Problem] = []
    axes: tuple[tuple[str, Sequence[str | ToolEntry], str], ...] = (
        ("scenarios", matrix.scenarios, "rename one file"), ("tools", matrix.tools, "give one of them a `name`"),
        ("policies", matrix.policies, "rename one file"),
    )  # fmt: skip
    for key, entries, mend in axes:
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            label = label_of(entry)
            if label in seen:
                found.append(document.problem((key, index), f"`{label}` stands twice", mend))
            seen.add(label)
    if len(set(matrix.seeds)) < len(matrix.seeds):
        found.append(document.problem(("seeds",), "a seed stands twice", "use `repeat` to run a cell again"))
    return found


def _incomplete(document: Document, matrix: Matrix) -> list[Problem]:
    """A tool alone has to be tested under something, and a program can't be switched in."""
    found: list[Problem] = []
    for scenario, tool, policy in _pairs(matrix):
        if scenario is not None or tool is None:
            continue
        place, key = _place_of(matrix, tool)
        if policy is None:
            what = f"under which policy is `{label_of(tool)}` tested?"
            found.append(document.problem(place, what, f"add `{key}: …`"))
            continue
        try:
            refuse_program(load_policy(policy), "be switched in while packets flow")
        except InputError as error:
            found += [document.problem(place, problem.what, problem.mend) for problem in error.problems]
    return found


def _pairs(matrix: Matrix) -> list[tuple[str | None, ToolEntry | None, str | None]]:
    """Return what goes together, whatever the seeds."""
    return list({labels(s, t, p): (s, t, p) for s, t, p, _ in coordinates(matrix)}.values())


def _place_of(matrix: Matrix, tool: ToolEntry) -> tuple[Location, str]:
    for index, item in enumerate(matrix.include):
        if item.tool is tool:
            return ("include", index), "policy"
    return ("tools", matrix.tools.index(tool)), "policies"


def _impossible(document: Document, matrix: Matrix) -> list[Problem]:
    """A scenario none of whose apps can go through a tool says nothing about it."""
    found: list[Problem] = []
    for scenario, tool in {(label_of(s), label_of(t)): (s, t) for s, t, _ in _pairs(matrix) if s and t}.values():
        try:
            cast(load_scenario(scenario), tool, None)
        except ValueError as error:
            mend = f"`exclude` the pair of `{label_of(scenario)}` and `{label_of(tool)}`"
            what = f"`{label_of(tool)}` in `{label_of(scenario)}`: {error}"
            found.append(document.problem(_place_of(matrix, tool)[0], what, mend))
    return found


def _selections(document: Document, matrix: Matrix) -> list[Problem]:
    """An entry that fits no cell, or asks for what can't be, is a mistake and not a wish."""
    found: list[Problem] = []
    every = [(*labels(s, t, p), seed) for s, t, p, seed in coordinates(matrix, excluded=True)]
    for index, entry in enumerate(matrix.exclude):
        found += _fits_none(document, ("exclude", index), entry, every)
    cells = [((*labels(s, t, p), seed), words_for(s, t)) for s, t, p, seed in coordinates(matrix)]
    for index, expected in enumerate(matrix.expect):
        place = ("expect", index)
        found += _fits_none(document, place, expected, [names for names, _ in cells])
        found += _words(document, place, expected, (words for names, words in cells if expected.fits(*names)))
    doubled = [name for name, times in Counter(cell.name for cell in cells_of(matrix)).items() if times > 1]
    if doubled:
        what = f"the cell `{doubled[0]}` is there twice"
        found.append(document.problem(("include",), what, "take one of them out, or give its tool a `name`"))
    return found


def _fits_none(document: Document, place: Location, entry: Selection, every: Sequence[Named]) -> list[Problem]:
    for position, key in enumerate(("scenario", "tool", "policy", "seed")):
        known = list(dict.fromkeys(names[position] for names in every if names[position] is not None))
        for name in getattr(entry, key) or ():
            if name not in known:
                texts = [str(each) for each in known]
                return [_unknown(document, (*place, key), f"no {key} `{name}` in this matrix", str(name), texts)]
    if any(entry.fits(*names) for names in every):
        return []
    return [document.problem(place, "fits no cell", "take it out, or mend its names")]


def _words(
    document: Document, place: Location, expected: Expected, possible: Iterable[tuple[str, ...]]
) -> list[Problem]:
    known = list(dict.fromkeys(word for words in possible for word in (*words, "any")))
    wrong = [word for word in expected.outcome if known and word not in known]
    mend = f"write one of {', '.join(f'`{word}`' for word in known)}"
    return [document.problem((*place, "outcome"), f"none of its cells can end as `{word}`", mend) for word in wrong]
