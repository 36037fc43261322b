"""The `testbed` command: finds the verb, prints errors with their mend, and turns them into exit statuses."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import traceback

import click

from testbed import __version__
from testbed.errors import InputError, MachineError, TestbedError

VERBS = (
    "run",
    "exec",
    "shell",
    "enter",
    "check",
    "replay",
    "report",
    "dashboard",
    "list",
    "doctor",
    "policy",
    "explain",
    "tool",
    "matrix",
    "lab",
    "completion",
)


class _Verbs(click.Group):
    """Imports a verb's file only when that verb is called, so that `testbed check` needs no kernel feature."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"testbed.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="testbed")
def cli() -> None:
    """Put unmodified programs behind Turkmenistan's Internet.

    Exit status: 0 expectations hold, 1 one failed, 2 bad input, 3 this machine lacks something or the run was not
    faithful, 4 a bug of ours.
    """


def main() -> None:
    """Run the command line and leave with the exit status of DESIGN."""
    try:
        status = cli.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except BrokenPipeError:
        _give_up_output()
        sys.exit(0)
    except TestbedError as error:
        sys.exit(_report(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _give_up_output()
            sys.exit(_report(MachineError(f"can't be written: {error.strerror}", "make room, or write elsewhere")))
        traceback.print_exc()
        print(f"testbed: a bug of ours: {error!r}; please report it with the lines above", file=sys.stderr)
        sys.exit(4)


def _give_up_output() -> None:
    """Send what is still to be written nowhere, or leaving would fail once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: TestbedError) -> int:
    if "--json" in sys.argv:
        print(json.dumps({"error": type(error).__name__, "status": error.exit_status, "problems": _problems(error)}))
    else:
        for line in str(error).splitlines():
            print(line, file=sys.stderr)
    return error.exit_status


def _problems(error: TestbedError) -> list[dict[str, str]]:
    if isinstance(error, InputError):
        return [{"place": item.place, "what": item.what, "mend": item.mend} for item in error.problems]
    if isinstance(error, MachineError):
        return [{"place": "", "what": error.what, "mend": error.mend}]
    return [{"place": "", "what": str(error), "mend": ""}]


if __name__ == "__main__":
    main()
