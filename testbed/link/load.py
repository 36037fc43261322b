"""Links by name or file, checked: every problem with its line and its mend."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from testbed import shipped
from testbed.documents import Document, Location, read_document, validation_problems
from testbed.errors import InputError, Problem
from testbed.link import kernel
from testbed.link.spec import USER_LIMIT_BPS, DirectionSpec, LinkSpec
from testbed.units import format_rate

_SHARED = tuple(DirectionSpec.model_fields)
_KEYS = sorted({*_SHARED, *LinkSpec.model_fields})


def load_link(reference: str | Path) -> LinkSpec | None:
    """Load a link by shipped name or path, None for `none`; `InputError` names what is wrong."""
    if reference == "none":
        return None
    path = shipped.find(reference, "scenarios/links")
    if not path.exists() and path.parent == shipped.folder("scenarios/links"):
        known = ["none", *shipped.names("scenarios/links")]
        near = difflib.get_close_matches(str(reference), known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
        raise InputError([Problem(str(reference), "no such link", mend)])
    return check_link(read_document(path))


def check_link(document: Document) -> LinkSpec:
    """Return the link that a document describes; `InputError` lists every problem, also what its backend can't do."""
    document = replace(document, lines=_spread(document.lines))
    known = {key: value for key, value in document.data.items() if key in _KEYS}
    problems = [_unknown(document, key) for key in document.data if key not in known]
    try:
        spec = LinkSpec.model_validate(known)
    except ValidationError as error:
        found = validation_problems(document, LinkSpec, error)
        raise InputError([*problems, *dict.fromkeys(_once(problem, found) for problem in found)]) from None
    problems += _backend_problems(document, spec)
    if problems:
        raise InputError(problems)
    return spec


def _spread(lines: Mapping[Location, int]) -> dict[Location, int]:
    """Say of a key given for both directions that it stands in each."""
    shared = {
        (side, *location): line
        for location, line in lines.items()
        if location and location[0] in _SHARED
        for side in ("up", "down")
    }
    if ("rtt",) in lines:
        shared |= {(side, "delay"): lines[("rtt",)] for side in ("up", "down")}
    return {**shared, **lines}


def _once(problem: Problem, found: Sequence[Problem]) -> Problem:
    """Return a problem without the name of its direction if the other one has it too."""
    for one, other in (("`up`: ", "`down`: "), ("`down`: ", "`up`: ")):
        what = problem.what.removeprefix(one)
        if what != problem.what and replace(problem, what=other + what) in found:
            return replace(problem, what=what)
    return problem


def _unknown(document: Document, key: str) -> Problem:
    near = difflib.get_close_matches(key, _KEYS, 1)
    mend = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(_KEYS)}"
    return document.problem((key,), f"unknown key `{key}`", mend)


def _backend_problems(document: Document, spec: LinkSpec) -> list[Problem]:
    if not spec.uses_kernel:
        return []
    mend = "write `backend: user`, or leave it out"
    if spec.backend == "auto":
        mend = f"ask for {format_rate(USER_LIMIT_BPS)} at most, which user space carries faithfully"
    found = {
        document.problem((name, key), f"`{key}`: {why}", mend): None
        for name, side in (("up", spec.up), ("down", spec.down))
        for key, why in kernel.refusals(side)
    }
    return list(found)
