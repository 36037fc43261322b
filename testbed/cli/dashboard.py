"""`testbed dashboard`: the live page, beside a run or with a scenario of its own."""

from __future__ import annotations

import json
from pathlib import Path

import click

from testbed.cli.screen import screen
from testbed.cli.words import SCENARIO
from testbed.errors import InputError, MachineError
from testbed.run.directory import RunDirectory, open_run
from testbed.scenario.load import load_scenario


@click.command("dashboard", short_help="The live page of a run, and a hand on it.")
@click.argument("target", type=SCENARIO, required=False, metavar="[RUN|SCENARIO]")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="0: any free one.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where runs that the page starts are kept.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the page's address as JSON.")
def command(target: str | None, port: int, out: Path, as_json: bool) -> int:
    """Serve the live page on loopback until Ctrl-C.

    With the directory of a run, it shows that run; with a scenario (a shipped name or a file), it starts it; with
    neither, a scenario is chosen on the page. Only who has the whole address, token and all, can change anything.
    """
    try:
        from testbed.dashboard.runs import Runs
        from testbed.dashboard.serve import serve
    except ImportError as error:
        raise MachineError(
            f"the live page lacks {error.name}", "pip install 'turkmenistan-testbed[dashboard]'"
        ) from None
    first: RunDirectory | str | None = target
    offered = None
    if target is not None:
        try:
            first = open_run(target)
        except InputError:
            load_scenario(target)
            offered = target

    def announce(address: str) -> None:
        if as_json:
            print(json.dumps({"address": address}), flush=True)
            return
        console = screen(errors=True)
        console.print("The live page is at", end=" ")
        console.print(address, style="bold", highlight=False, soft_wrap=True)
        console.print(
            "Whoever has this address can steer the run; without what is behind # one can look on.", style="dim"
        )

    return serve(Runs(out, offered), first, port, announce=announce)
