"""`testbed completion`: the script that lets a shell complete verbs, options, names and files."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class


@click.command("completion", short_help="A script that lets your shell complete verbs, options and names.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "as_json", is_flag=True, help="Print the script inside JSON.")
def command(shell: str, as_json: bool) -> int:
    """Print the completion script of a shell.

    \b
    testbed completion bash > ~/.local/share/bash-completion/completions/testbed
    testbed completion zsh > ~/.zfunc/_testbed
    testbed completion fish > ~/.config/fish/completions/testbed.fish
    """
    from testbed.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    script = found(cli, {}, "testbed", "_TESTBED_COMPLETE").source()
    print(json.dumps({"shell": shell, "script": script}) if as_json else script)
    return 0
