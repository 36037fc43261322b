"""`testbed report`: a run's result again, in the form asked for."""

from __future__ import annotations

import json

import click
from rich.console import Console

from testbed.errors import InputError, Problem
from testbed.report import html, junit, text
from testbed.run.directory import open_run, read_lines

FORMS = ("text", "json", "junit", "html")


@click.command("report", short_help="A run's result as text, JSON, JUnit or HTML.")
@click.argument("run")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(run: str, form: str, as_json: bool) -> int:
    """Print the result of the run whose directory is RUN."""
    directory = open_run(run)
    if not directory.result.exists():
        raise InputError([Problem(run, "has no result.json", "the run did not end; look into its logs/")])
    result = json.loads(directory.result.read_text(encoding="utf-8"))
    if as_json or form == "json":
        print(json.dumps(result, indent=1, ensure_ascii=False))
    elif form == "junit":
        print(junit.render(result), end="")
    elif form == "html":
        print(html.render(result, [event for event in read_lines(directory.events) if "rule" in event]))
    else:
        Console().print(text.render(result))
    return 0
