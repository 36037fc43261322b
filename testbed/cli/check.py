"""`testbed check`: are these files right? Every mistake with its line and its mend; no privileges."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testbed.campaign.load import load_matrix
from testbed.cli.words import FILE
from testbed.documents import Document, read_document
from testbed.dpi.policy import load_policy
from testbed.errors import InputError, Problem
from testbed.link.load import load_link
from testbed.scenario.load import load_scenario
from testbed.tools.recipe import load_recipe

_LOADERS: dict[str, Callable[[Path], Any]] = {
    "scenario": load_scenario,
    "recipe": load_recipe,
    "policy": load_policy,
    "link": load_link,
    "matrix": load_matrix,
}  # in the order in which a file's keys are asked: a scenario has a policy and a link, too


@click.command("check", short_help="Check scenarios, policies, links, recipes and matrices.")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="FILE…")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def command(files: tuple[str, ...], as_json: bool) -> int:
    """Check each FILE; what it is, its key says: `scenario:`, `policy:`, `link:`, `recipe:` or `matrix:`.

    A box of your own (FILE.py) is compiled, no more: what it does shows when it runs.
    """
    problems = [problem for file in files for problem in problems_of(Path(file))]
    if as_json:
        found = [{"place": p.place, "what": p.what, "mend": p.mend} for p in problems]
        print(json.dumps({"files": len(files), "problems": found}, ensure_ascii=False))
    elif problems:
        raise InputError(problems)
    else:
        print(f"{len(files)} file{'s' if len(files) > 1 else ''} right")
    return 2 if problems else 0


def problems_of(path: Path) -> list[Problem]:
    """Return what is wrong with a file."""
    try:
        if path.suffix == ".py":
            load_policy(path)
            return []
        document = read_document(path)
        kind = next((name for name in _LOADERS if name in document.data), None)
        if kind is None:
            return [_no_kind(document)]
        _LOADERS[kind](path)
    except InputError as error:
        return list(error.problems)
    return []


def _no_kind(document: Document) -> Problem:
    for key in document.data:
        if near := difflib.get_close_matches(str(key), list(_LOADERS), 1):
            return document.problem((key,), f"unknown key `{key}`", f"did you mean `{near[0]}`?")
    mend = f"name it by one of {', '.join(f'`{name}: …`' for name in _LOADERS)}"
    return document.problem((), "can't tell what this file is", mend)
