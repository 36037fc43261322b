"""`testbed run`: play a scenario, judge its expectations, leave a run directory."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import click
from rich.console import Console

from testbed.cli import live
from testbed.errors import InputError, Problem
from testbed.report import text
from testbed.run.directory import RunDirectory
from testbed.scenario.load import load_scenario


@click.command("run", short_help="Play a scenario and judge its expectations.")
@click.argument("scenario")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where run directories are made.")  # fmt: skip
@click.option("--into", type=click.Path(path_type=Path), help="The run directory itself; must be new or empty.")
@click.option("--seed", type=int, help="Another seed than the scenario's.")
@click.option("--capture/--no-capture", default=True, show_default=True, help="Keep pcapng files of each box's sides.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
def command(scenario: str, out: Path, into: Path | None, seed: int | None, capture: bool, as_json: bool) -> int:
    """Play SCENARIO, a shipped name (`testbed list`) or a file.

    Exit status: 0 its expectations hold, 1 one failed, 3 the run was not faithful and proves nothing.
    """
    loaded = load_scenario(scenario)
    directory = _chosen(into) if into else RunDirectory.create(out, loaded.scenario, datetime.datetime.now())
    job = {
        "verb": "run", "scenario": scenario, "seed": seed, "json": as_json, "capture": capture,
        "cwd": str(Path.cwd()), "command": f"testbed run {scenario} --seed {loaded.seed if seed is None else seed}",
    }  # fmt: skip
    if not as_json:
        Console(stderr=True).print(f"run directory: {directory.path}", style="dim", highlight=False)
    status = live.play(job, directory.path)
    if directory.result.exists():
        result = json.loads(directory.result.read_text(encoding="utf-8"))
        if as_json:
            print(json.dumps(result, ensure_ascii=False))
        else:
            Console().print(text.render(result))
    return status


def _chosen(path: Path) -> RunDirectory:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError([Problem(str(path), "is there already", "give a new or an empty directory with --into")])
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError([Problem(str(path), f"can't be made: {error.strerror}", "give another place")]) from None
    return RunDirectory.prepared(path)
