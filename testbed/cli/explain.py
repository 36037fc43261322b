"""`testbed policy explain`, `testbed explain`: what a policy does to a name, by which line, and whom else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from testbed import shipped
from testbed.cli.words import POLICY
from testbed.documents import Document, Location
from testbed.dpi.explain import as_lines, explain, line_of
from testbed.dpi.inherit import read_inherited
from testbed.dpi.names import check_pattern, read_list
from testbed.dpi.policy import Hit, load_policy, refuse_program
from testbed.errors import InputError, Problem
from testbed.scenario.topology import GROUPS


@click.command("explain", short_help="What a policy does to a name, and whom else it hits.")
@click.argument("name")
@click.option("--policy", "reference", type=POLICY, default="tm-2022", show_default=True, metavar="P",
              help="A name or a file.")  # fmt: skip
@click.option("--against", type=click.Path(path_type=Path), metavar="FILE",
              help="Names to count over-blocking among, one a line (default: some 3,000 well-known ones).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON.")
def command(name: str, reference: str, against: Path | None, as_json: bool) -> int:
    """Say which rules NAME runs into in DNS, HTTP and HTTPS, and what their patterns hit besides it.

    \b
    testbed policy explain xtwitter.com
    testbed policy explain t.co --policy my-policy.yaml --against my-names.txt
    """
    policy = load_policy(reference, GROUPS)
    refuse_program(policy, "be explained: what it does shows when it runs")
    inherited = read_inherited(reference)
    folders = (*inherited.folders, shipped.folder("policies"))
    asked = _asked(name)

    def find_line(listed: str, hit: Hit) -> str:
        if not listed:
            return _place_in_policy(inherited.document, policy.rule_names.index(hit.rule), hit)
        source = next(path for folder in folders if (path := folder / "lists" / listed).is_file())
        return f"{source}:{line_of(hit.pattern, source.read_text(encoding='utf-8-sig').splitlines()) or 1}"

    found = explain(policy, asked, _names(against), find_line)
    if as_json:
        shown = {"policy": policy.policy, "name": asked, "hits": [item.as_json() for item in found]}
        print(json.dumps(shown, indent=1, ensure_ascii=False))
    else:
        print("\n".join(as_lines(asked, policy, found)))
    return 0


def _asked(name: str) -> str:
    """Return a name as it is compared: lower case, international ones in their `xn--` form."""
    try:
        if set(name) & set("/:?@* ") or not name.strip("."):
            raise ValueError(f"{name!r} is no name; write one like www.example.org")
        return check_pattern(f"={name}")[1:]
    except ValueError as error:
        what, _, mend = str(error).partition("; ")
        raise InputError([Problem("NAME", what, mend)]) from None


def _place_in_policy(document: Document, rule: int, hit: Hit) -> str:
    """Return the line of the rule's pattern; of its match, if the pattern is written in a way not seen here."""
    for location in document.lines:
        if (
            location[:3] == ("rules", rule, "match")
            and hit.kind in location
            and _value(document, location) == hit.pattern
        ):
            return document.place(location)
    return document.place(("rules", rule, "match"))


def _value(document: Document, location: Location) -> str:
    value: Any = document.data
    for part in location:
        value = value[part]
    try:
        return check_pattern(value) if isinstance(value, str) else ""
    except ValueError:
        return ""


def _names(against: Path | None) -> list[str]:
    path = against or shipped.folder("policies") / "lists" / "well-known.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(f"{path}:1", f"can't be read: {error}", "give a list of names")]) from None
    return [text.lower().rstrip(".") for _, text in read_list(lines)]
