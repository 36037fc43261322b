"""`testbed enter`: a second terminal into a running net."""

from __future__ import annotations

import os
import subprocess

import click

from testbed.net import sandbox
from testbed.run.directory import open_run


@click.command(
    "enter",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="A second terminal into a running net.",
)
@click.argument("run")
@click.argument("node")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD …]")
def command(run: str, node: str, argv: tuple[str, ...]) -> int:
    """Run CMD (a shell, if none is given) in NODE of the run whose directory is RUN."""
    shell = [os.environ.get("SHELL", "/bin/sh")]
    return subprocess.call(sandbox.enter_argv(open_run(run).path, node, list(argv) or shell))
