"""`testbed list`: what ships."""

from __future__ import annotations

import inspect
import json

import click
from rich.table import Table

from testbed import shipped
from testbed.apps import profiles
from testbed.cli.screen import screen
from testbed.documents import read_document
from testbed.scenario.params import PARAMS

_KINDS = {"scenarios": "scenarios", "policies": "policies", "links": "scenarios/links", "recipes": "recipes",
          "matrices": "matrices"}  # fmt: skip


@click.command("list", short_help="What ships: scenarios, policies, links, recipes, matrices, profiles, apps.")
@click.argument("kinds", nargs=-1, metavar="[KIND]…", type=click.Choice([*_KINDS, "profiles", "apps"]))
@click.option("--json", "as_json", is_flag=True, help="Print the lists as JSON.")
def command(kinds: tuple[str, ...], as_json: bool) -> int:
    """List the scenarios, policies, links, recipes, matrices, messenger profiles and kinds of app that ship.

    `testbed list recipes policies` lists these alone.
    """
    found = {
        kind: {name: _title(shipped.find(name, folder)) for name in shipped.names(folder)}
        for kind, folder in _KINDS.items()
    }
    found["profiles"] = {name: profiles.load_profile(name).title for name in profiles.names()}
    found["apps"] = {kind: inspect.cleandoc(model.__doc__ or "").splitlines()[0] for kind, model in PARAMS.items()}
    found = {kind: entries for kind, entries in found.items() if kind in (kinds or found)}
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    for kind, entries in found.items():
        table = Table(title=kind, title_justify="left", title_style="bold", show_header=False, box=None)
        for name, title in entries.items():
            table.add_row(name, title)
        screen().print(table)
    return 0


def _title(path: object) -> str:
    return str(read_document(str(path)).data.get("title", ""))
