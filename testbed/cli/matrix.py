"""`testbed matrix`: many runs as one, side by side in sandboxes, judged together; a second time only what changed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from testbed.campaign import conduct
from testbed.campaign.cells import GITHUB_JOBS, Cell, cells_of, github, github_shards, select
from testbed.campaign.folder import Folder
from testbed.campaign.load import load_matrix
from testbed.cli import live
from testbed.cli.screen import screen
from testbed.cli.words import MATRIX
from testbed.errors import InputError, Problem
from testbed.report import campaign as report

_SHARD = re.compile(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})")


@click.command("matrix", short_help="Scenarios × tools × seeds, side by side.")
@click.argument("file", type=MATRIX, metavar="FILE")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR",
              help="Where results are kept and found again (default: runs/NAME).")  # fmt: skip
@click.option(
    "--only", "patterns", multiple=True, metavar="CELL", help="Only these cells, as `ssh+*`; may be repeated."
)
@click.option("--shard", metavar="I/N", help="Only every N-th cell, from the I-th on: one of N jobs of a CI.")
@click.option("--jobs", type=click.IntRange(1), default=None, metavar="N",
              help="At most N side by side (default: as many as the machine carries faithfully).")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Run every cell, whatever earlier results say.")
@click.option("--no-run", is_flag=True, help="Run nothing: judge what DIR holds, from other machines too.")
@click.option("--print", "form", type=click.Choice(["cells", "github"]),
              help="Print the cells, a line each, or as the matrix of a GitHub job; run nothing.")  # fmt: skip
@click.option("--shards", type=click.IntRange(1), metavar="N", help="With --print github: N shards instead of cells.")
@click.option("--scheduler", metavar="ADDRESS", help="Hand the runs to the Dask cluster of this scheduler.")
@live.allow_plugins
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    file: str, out: Path | None, patterns: tuple[str, ...], shard: str | None, jobs: int | None, fresh: bool,
    no_run: bool, form: str | None, shards: int | None, scheduler: str | None, plugins: bool, as_json: bool,
) -> int:  # fmt: skip
    """Run every cell of the matrix FILE, a shipped name (`testbed list`) or a file.

    Exit status: 0 every cell is as expected; 1 one is not; 3 none fails, but one proves nothing: invalid, skipped since
    a program is missing, or not run.
    """
    _refuse_together(fresh, no_run, form, shards, scheduler, jobs)
    matrix = load_matrix(file)
    cells = _selected(cells_of(matrix), patterns, shard)
    if form is not None:
        print(_printed(cells, form, shards))
        return 0
    folder = Folder((out if out is not None else Path("runs") / matrix.matrix).resolve())
    wanted = conduct.Wanted(jobs or 0, fresh, no_run, scheduler, plugins)
    # SIGINT too: a script starts what it puts into the background with that one ignored
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        found = conduct.conduct(matrix, cells, folder, wanted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        console = screen()
        console.print(report.render_text(found.as_json()))
        console.print(os.path.relpath(folder.page), style="dim", highlight=False)
    return 130 if found.interrupted else found.status


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let a CI's cancel button do what Ctrl-C does, and Ctrl-C do it always."""
    raise KeyboardInterrupt


def _refuse_together(
    fresh: bool, no_run: bool, form: str | None, shards: int | None, scheduler: str | None, jobs: int | None
) -> None:
    if fresh and no_run:
        raise click.UsageError("--fresh runs everything, --no-run nothing: give one of them")
    if shards is not None and form != "github":
        raise click.UsageError("--shards belongs to `--print github`")
    if scheduler is not None and jobs is not None:
        raise click.UsageError("--jobs is this machine's; a cluster's workers have their own number of threads")


def _selected(cells: Sequence[Cell], patterns: Sequence[str], shard: str | None) -> list[Cell]:
    for pattern in patterns:
        if not select(cells, [pattern]):
            mend = f"they are named like `{cells[0].name}`; `--print cells` lists them"
            raise InputError([Problem(f"--only {pattern}", "fits no cell", mend)])
    part: tuple[int, int] | None = None
    if shard is not None:
        match = _SHARD.fullmatch(shard)
        part = (int(match[1]), int(match[2])) if match else (1, 0)
        if part[0] > part[1]:
            raise InputError([Problem(f"--shard {shard}", "no shard", "write `--shard 1/4`, `2/4`, … `4/4`")])
    return select(cells, patterns, part)


def _printed(cells: Sequence[Cell], form: str, shards: int | None) -> str:
    if form == "cells":
        return "\n".join(cell.name for cell in cells)
    if shards is None and len(cells) > GITHUB_JOBS:
        what = f"{len(cells)} cells, and GitHub starts {GITHUB_JOBS} jobs at most"
        raise InputError([Problem("--print github", what, "deal them out with --shards 16")])
    return json.dumps(github(cells) if shards is None else github_shards(min(shards, max(1, len(cells)))))
