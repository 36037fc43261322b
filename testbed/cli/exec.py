"""`testbed exec`: any command behind the censor, its output passed through, its status ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from testbed.cli import live
from testbed.cli.words import LINK, POLICY, SCENARIO
from testbed.errors import InputError, Problem


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Run any command behind the censor.",
)
@click.option("--scenario", type=SCENARIO, metavar="S", help="A scenario's net, link and policy; a name or a file.")
@click.option("--policy", type=POLICY, metavar="P",
              help="A policy alone, on the default net (default: tm-2022); FILE.py is run as the box.")  # fmt: skip
@click.option("--link", type=LINK, metavar="L",
              help="A link's name or file; `none` for unshaped (default: national-2021).")  # fmt: skip
@click.option("--node", metavar="N", default="client1", show_default=True, help="Where the command runs.")
@click.option("--seed", type=int, default=1, show_default=True, help="What all chances are drawn from.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the run directory (captures, events) there.")
@live.allow_plugins
@click.option("--json", "as_json", is_flag=True, help="Say on standard error, as JSON, what the censor did.")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD …")
def command(
    scenario: str | None, policy: str | None, link: str | None, node: str, seed: int, keep: Path | None,
    plugins: bool, as_json: bool, argv: tuple[str, ...],
) -> int:  # fmt: skip
    """Run CMD in a host behind the censor and leave with its status.

    Without --link over the national link of 2021: 0.5 Mbit/s, 205 ms there and back.

    \b
    testbed exec --policy tm-2022 -- curl -sS https://twitter.com/
    testbed exec --policy open --link none -- curl -sS https://anything.example/
    """
    if scenario and policy:
        raise click.UsageError("--scenario has a policy of its own; give one of --scenario and --policy")
    if shutil.which(argv[0]) is None:
        raise InputError([Problem(argv[0], "no such program", "install it, or give its path")])
    job = {
        "verb": "exec", "scenario": scenario, "policy": policy, "link": link, "node": node, "seed": seed,
        "argv": list(argv), "json": as_json, "capture": keep is not None, "plugins": plugins,
        "cwd": str(Path.cwd()),
    }  # fmt: skip
    if keep is not None:
        return live.play(job, live.new_folder(keep, "--keep"))
    with live.scratch() as folder:
        return live.play(job, folder)
