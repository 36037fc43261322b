"""`testbed check`: are these files right? Every mistake with its line and its mend; no privileges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from testbed.documents import read_document
from testbed.dpi.policy import load_policy
from testbed.errors import InputError, Problem
from testbed.link.load import load_link
from testbed.scenario.load import load_scenario

_LOADERS: dict[str, Callable[[Path], Any]] = {
    "scenario": load_scenario,
    "policy": load_policy,
    "link": load_link,
}


@click.command("check", short_help="Check scenarios, policies and links.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def command(files: tuple[str, ...], as_json: bool) -> int:
    """Check each FILE; what it is, its first key says (`scenario:`, `policy:` or `link:`)."""
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
        document = read_document(path)
        kind = next(iter(document.data), "")
        if kind not in _LOADERS:
            mend = f"begin with one of {', '.join(f'`{name}:`' for name in _LOADERS)}"
            return [document.problem((kind,), f"can't tell what this file is from its first key `{kind}`", mend)]
        _LOADERS[kind](path.resolve() if path.is_absolute() else Path(".", path))
    except InputError as error:
        return list(error.problems)
    return []
