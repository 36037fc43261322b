"""Scenarios: YAML to a typed, checked `Scenario`. All problems at once, each with its line and its mend.

`extends: NAME` takes everything from another scenario; a key given here replaces the whole of that key there. Files
that a scenario names (`policy: ./mine.yaml`) stand beside it, or below the folder where the command was called.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed import shipped
from testbed.documents import Document, read_document, validation_problems
from testbed.errors import InputError, Problem
from testbed.partial import salvage
from testbed.scenario.checks import problems_of
from testbed.scenario.spec import AppSpec, Expectation, Scenario, Step, ToolSpec

__all__ = ["AppSpec", "Expectation", "Scenario", "Step", "ToolSpec", "load_scenario"]


def load_scenario(reference: str | Path) -> Scenario:
    """Load a scenario by shipped name or path; `InputError` lists every problem."""
    document = _merged(reference, ())
    try:
        scenario = Scenario.model_validate(document.data)
    except ValidationError as error:
        raise InputError(_all_problems(document, error)) from None
    problems = problems_of(scenario, document)
    if problems:
        raise InputError(_in_order(problems))
    return scenario


def _all_problems(document: Document, error: ValidationError) -> list[Problem]:
    """Return the problems of a document's form, and what else is wrong with the rest of it."""
    problems = validation_problems(document, Scenario, error)
    if (rest := salvage(document, Scenario)) is not None:
        scenario, remaining, left_out = rest
        problems += [problem for problem in problems_of(scenario, remaining, left_out) if problem not in problems]
    return _in_order(problems)


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort by file and line; what stands on one line keeps its order."""

    def key(problem: Problem) -> tuple[str, int]:
        path, _, line = problem.place.rpartition(":")
        return path, int(line) if line.isdigit() else 0

    return sorted(dict.fromkeys(problems), key=key)


def _merged(reference: str | Path, seen: tuple[Path, ...]) -> Document:
    path = shipped.find(reference, "scenarios")
    if not path.exists() and path.parent == shipped.folder("scenarios"):
        raise InputError([Problem(str(reference), "no such scenario", _nearest(str(reference)))])
    document = _anchored(read_document(path), path.parent)
    base = document.data.get("extends")
    if base is None:
        return document
    if not isinstance(base, str):
        problem = document.problem(("extends",), "`extends`: not text", "name a scenario or a file")
        raise InputError([problem])
    chain = (*seen, path.resolve())
    base_path = shipped.find(base, "scenarios")
    if base_path.resolve() in chain:
        way = " → ".join(step.name for step in (*chain, base_path))
        raise InputError([document.problem(("extends",), f"`{base}` extends itself: {way}", "break the circle")])
    if not base_path.exists():
        named = "/" not in base and not base.endswith((".yaml", ".yml"))
        what, mend = ("no such scenario", _nearest(base)) if named else ("no such file", "check the name")
        raise InputError([document.problem(("extends",), f"`{base}`: {what}", mend)])
    return document.over(_merged(base_path, chain))


def _nearest(name: str) -> str:
    known = shipped.names("scenarios")
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"


def _anchored(document: Document, folder: Path) -> Document:
    """Turn the files that a document names into paths that are right from where the command was called."""

    def beside(name: str) -> str:
        own = folder / name
        return str(own if own.exists() or not Path(name).exists() else Path(name))

    return Document(document.path, with_files(document.data, beside), document.lines, document.origins)


def resolved(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario as plain data that loads again from any folder: defaults filled in, `extends` merged."""
    data = scenario.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"extends"})
    return with_files(data, lambda name: str(Path(name).resolve()))


def with_files(data: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a scenario's data with every reference to a file changed; shipped names stay as they are."""

    def anchor(value: Any) -> Any:
        is_file = isinstance(value, str) and ("/" in value or value.endswith((".yaml", ".yml", ".py")))
        return change(value) if is_file else value

    def within(value: Any, *keys: str) -> Any:
        return {k: anchor(v) if k in keys else v for k, v in value.items()} if isinstance(value, dict) else value

    def each(value: Any, *keys: str) -> Any:
        return [within(item, *keys) for item in value] if isinstance(value, list) else value

    found: dict[str, Any] = within(data, "extends", "policy", "link")
    for name, keys in (("tools", ("recipe",)), ("timeline", ("policy", "link"))):
        if name in found:
            found[name] = each(found[name], *keys)
    topology = found.get("topology")
    if isinstance(topology, dict):
        found["topology"] = topology = dict(topology)
        if isinstance(boxes := topology.get("boxes"), dict):
            topology["boxes"] = {name: anchor(policy) for name, policy in boxes.items()}
        if isinstance(providers := topology.get("providers"), dict):
            topology["providers"] = {name: within(provider, "policy") for name, provider in providers.items()}
    return found
