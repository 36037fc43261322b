"""`testbed run`: play a scenario, judge its expectations, leave a run directory."""

from __future__ import annotations

import contextlib
import datetime
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from testbed import proc
from testbed.cli import live
from testbed.cli.screen import screen
from testbed.cli.words import SCENARIO
from testbed.report import text
from testbed.run.directory import RunDirectory
from testbed.scenario.load import load_scenario

_PORT = 8642
_PATIENCE_S = 5.0


@click.command("run", short_help="Play a scenario and judge its expectations.")
@click.argument("scenario", type=SCENARIO)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where run directories are made.")  # fmt: skip
@click.option("--into", type=click.Path(path_type=Path), help="The run directory itself; no file may be in it.")
@click.option("--seed", type=int, help="Another seed than the scenario's.")
@click.option("--capture/--no-capture", default=True, show_default=True, help="Keep pcapng files of each box's sides.")
@click.option(
    "--plots/--no-plots",
    "drawn",
    default=True,
    show_default=True,
    help="Draw plots into the report, which takes a second.",
)
@click.option("--dashboard", is_flag=True, help="Serve the live page while the run lasts.")
@live.allow_plugins
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else.")
def command(
    scenario: str, out: Path, into: Path | None, seed: int | None, capture: bool, drawn: bool, dashboard: bool,
    plugins: bool, as_json: bool,
) -> int:  # fmt: skip
    """Play SCENARIO, a shipped name (`testbed list`) or a file.

    Exit status: 0 its expectations hold, 1 one failed, 3 the run was not faithful and proves nothing.
    """
    loaded = load_scenario(scenario)
    if into is not None:
        directory = RunDirectory.prepared(live.new_folder(into, "--into"))
    else:
        directory = RunDirectory.create(out, loaded.scenario, datetime.datetime.now())
    chosen_seed = loaded.seed if seed is None else seed
    job = {
        "verb": "run", "scenario": scenario, "seed": seed, "json": as_json, "capture": capture, "plots": drawn,
        "plugins": plugins, "cwd": str(Path.cwd()), "command": f"testbed run {scenario} --seed {chosen_seed}",
    }  # fmt: skip
    if not as_json:
        screen(errors=True).print(f"run directory: {directory.path}", style="dim", highlight=False)
    with _page(directory.path) if dashboard else contextlib.nullcontext():
        status = live.play(job, directory.path)
    if directory.result.exists():
        result = json.loads(directory.result.read_text(encoding="utf-8"))
        if as_json:
            print(json.dumps(result, ensure_ascii=False))
        else:
            screen().print(text.render(result))
    return status


@contextlib.contextmanager
def _page(path: Path) -> Iterator[None]:
    """Serve the live page of a run in a process of its own, which ends when this one does."""
    argv = proc.module("testbed.dashboard", str(path), str(_PORT))
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
