"""`testbed policy`: what concerns policies alone; one verb a file, imported only when it is called."""

from __future__ import annotations

import importlib

import click

VERBS = ("explain", "from-ooni")


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        found = importlib.import_module(f"testbed.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(found, click.Command)
        return found


@click.command("policy", cls=_Verbs, short_help="Explain a policy; draft one from OONI's data.")
def command() -> None:
    """Explain what a policy does to a name, or draft a policy from measurements."""
