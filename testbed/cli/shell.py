"""`testbed shell`: a prompt inside a scenario's country, as Mininet's."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testbed.cli import live
from testbed.cli.words import LINK, POLICY, SCENARIO


@click.command("shell", short_help="A prompt inside a scenario's country, as Mininet's.")
@click.argument("scenario", type=SCENARIO)
@click.option("--policy", type=POLICY, metavar="P", help="Another policy than the scenario's.")
@click.option("--link", type=LINK, metavar="L", help="Another link than the scenario's; `none` for unshaped.")
@click.option("--seed", type=int, default=1, show_default=True, help="What all chances are drawn from.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the run directory there.")
@live.allow_plugins
@click.option("--json", "as_json", is_flag=True, help="Say the run directory and the nodes as JSON before the prompt.")
def command(
    scenario: str, policy: str | None, link: str | None, seed: int, keep: Path | None, plugins: bool, as_json: bool
) -> int:
    """Bring up SCENARIO's country and open a prompt as Mininet's: `client1 curl -sS https://turkmen.news/`."""
    job = {
        "verb": "shell", "scenario": scenario, "policy": policy, "link": link, "seed": seed,
        "json": as_json, "capture": keep is not None, "plugins": plugins, "cwd": str(Path.cwd()),
    }  # fmt: skip
    prompt = sys.stdin.isatty()
    if keep is not None:
        return live.play(job, live.new_folder(keep, "--keep"), prompt=prompt)
    with live.scratch() as folder:
        return live.play(job, folder, prompt=prompt)
