"""`extends:` of policies: a regime as what it changes in another one, each part still known by its own file and line.

A key given here replaces the whole of that key there, as with scenarios; rules are put together. Own rules come first,
in their order; one that has the name of a rule there takes its place; `leave_out` leaves rules of there out.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed import shipped
from testbed.documents import Document, Location, read_document
from testbed.errors import InputError, Problem


@dataclass(frozen=True, slots=True)
class Inherited:
    """A policy's document with all it extends laid under it, and the folders of these files, its own first."""

    document: Document
    folders: tuple[Path, ...]


def read_inherited(reference: str | Path) -> Inherited:
    """Read a policy's file by shipped name or path, and what it extends; `InputError` says where a link is broken."""
    path = shipped.find(reference, "policies")
    if not path.exists() and path.parent == shipped.folder("policies"):
        raise InputError([Problem(str(reference), "no such policy", _nearest(str(reference)))])
    return _read(path, ())


def _read(path: Path, seen: tuple[Path, ...]) -> Inherited:
    document = read_document(path)
    base = document.data.get("extends")
    if base is None:
        if document.data.get("leave_out"):
            what = "there is nothing to leave rules out of"
            raise InputError([document.problem(("leave_out",), what, "add `extends: POLICY`, or delete the line")])
        return Inherited(document, (path.parent,))
    if not isinstance(base, str):
        raise InputError([document.problem(("extends",), "`extends`: not text", "name a policy or a file")])
    found = _find(document, path, base)
    chain = (*seen, path.resolve())
    if found.resolve() in chain:
        way = " → ".join(step.name for step in (*chain, found))
        raise InputError([document.problem(("extends",), f"`{base}` extends itself: {way}", "break the circle")])
    below = _read(found, chain)
    return Inherited(_laid_over(document, below.document), (path.parent, *below.folders))


def _find(document: Document, path: Path, base: str) -> Path:
    is_file = "/" in base or base.endswith((".yaml", ".yml"))
    found = path.parent / base if is_file else shipped.find(base, "policies")
    if found.exists():
        return found
    what, mend = ("no such file", "files are named from the folder of this one") if is_file else (
        "no such policy", _nearest(base),
    )  # fmt: skip
    raise InputError([document.problem(("extends",), f"`{base}`: {what}", mend)])


def _nearest(name: str) -> str:
    known = shipped.names("policies")
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"


def _laid_over(own: Document, base: Document) -> Document:
    """Return a document over its base, the rules of both put together."""
    merged = own.over(base)
    ours, theirs = own.data.get("rules") or [], base.data.get("rules") or []
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return merged  # the model says what is wrong with it
    ours_by_name = {_name(rule): index for index, rule in enumerate(ours) if _name(rule) is not None}
    names = [_name(rule) for rule in theirs]
    left_out = _left_out(own, [name for name in names if name is not None])
    order = [(own, index) for index, rule in enumerate(ours) if _name(rule) is None or _name(rule) not in names]
    for index, name in enumerate(names):
        if name is not None and name in ours_by_name:
            order.append((own, ours_by_name[name]))
        elif name not in left_out:
            order.append((base, index))
    lines = {where: line for where, line in merged.lines.items() if where[:1] != ("rules",) or len(where) == 1}
    origins = {where: path for where, path in merged.origins.items() if where[0] != "rules"}
    rules: list[Any] = []
    for source, index in order:
        rules.append(source.data["rules"][index])
        lines.update(_moved(source.lines, index, len(rules) - 1))
        origins["rules", len(rules) - 1] = source.place(("rules", index)).rpartition(":")[0]
    return Document(own.path, {**merged.data, "rules": rules}, lines, origins)


def _name(rule: Any) -> str | None:
    name = rule.get("name") if isinstance(rule, dict) else None
    return name if isinstance(name, str) else None


def _left_out(own: Document, known: list[str]) -> set[str]:
    wanted = own.data.get("leave_out") or []
    if not isinstance(wanted, list):
        return set()
    problems = []
    for position, name in enumerate(wanted):
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            mend = f"did you mean `{near[0]}`?" if near else f"its rules: {', '.join(known) or 'none'}"
            what = f"`{own.data['extends']}` has no rule `{name}`"
            problems.append(own.problem(("leave_out", position), what, mend))
    if problems:
        raise InputError(problems)
    return set(wanted)


def _moved(lines: Mapping[Location, int], index: int, to: int) -> dict[Location, int]:
    return {("rules", to, *where[2:]): line for where, line in lines.items() if where[:2] == ("rules", index)}
