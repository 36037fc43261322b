"""`testbed enter`: a second terminal into a running net."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click

from testbed.cli.words import FILE
from testbed.net import hosts, sandbox
from testbed.run.directory import open_run


@click.command(
    "enter",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="A second terminal into a running net.",
)
@click.option("--json", "as_json", is_flag=True, help="Say on standard error, as JSON, how the command ended.")
@click.argument("run", type=FILE)
@click.argument("node")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD …]")
def command(run: str, node: str, argv: tuple[str, ...], as_json: bool) -> int:
    """Run CMD (a shell, if none is given) in NODE of the run whose directory is RUN."""
    shell = [os.environ.get("SHELL", "/bin/sh")]
    path = open_run(run).path
    home = path / "work" / "hosts" / node / "home"
    trust = hosts.Trust(path / "work" / "ca" / "trusted.pem", path / "work" / "ca" / "nssdb")
    inside = sandbox.enter_argv(path, node, list(argv) or shell)
    status = subprocess.call(inside, env={**os.environ, **hosts.environment(home, trust)})
    status = status if status >= 0 else 128 - status
    if as_json:
        print(json.dumps({"node": node, "status": status}), file=sys.stderr)
    return status
