"""`python -m testbed.tools.geneva STRATEGY [-- CMD …]`: play a strategy on this host, alone or around one command."""

from __future__ import annotations

import asyncio
import shutil
import sys

import click

from testbed.errors import InputError, Problem, TestbedError
from testbed.tools.geneva.divert import divert
from testbed.tools.geneva.parse import StrategyError, parse
from testbed.tools.geneva.proxy import play


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--ports", default="", metavar="N,N", help="Only packets to and from these ports (default: all).")
@click.option("--seed", default=0, show_default=True, help="Where `corrupt` draws from.")
@click.option("--proxy", metavar="ADDRESS:PORT", help="Be an HTTP proxy here, for a strategy about requests.")
@click.option("--to", metavar="ADDRESS", help="With --proxy: where every site is.")
@click.argument("strategy")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD …]")
def main(ports: str, seed: int, proxy: str | None, to: str | None, strategy: str, argv: tuple[str, ...]) -> int:
    """Play STRATEGY in Geneva's syntax on this host's packets, until SIGTERM or while CMD runs.

    One about requests, `[HTTP:host:*]-…`, is played on those that programs send by way of the proxy.
    """
    try:
        wanted = parse(strategy)
    except StrategyError as error:
        raise InputError([Problem("strategy", str(error))]) from None
    if wanted.is_about_requests != (proxy is not None):
        mend = "give --proxy 127.0.0.1:8118" if proxy is None else "leave --proxy out"
        raise InputError([Problem("strategy", "requests are changed by a proxy, packets without one", mend)])
    if proxy is not None:
        address, _, port = proxy.rpartition(":")
        if not address or not port.isdigit():
            raise InputError([Problem(f"--proxy {proxy}", "no address and port", "write `127.0.0.1:8118`")])
        asyncio.run(play(wanted, address.strip("[]"), int(port), to))
        return 0
    argv = argv[1:] if argv[:1] == ("--",) else argv
    if argv and shutil.which(argv[0]) is None:
        raise InputError([Problem(argv[0], "no such program", "install it, or give its path")])
    return divert(wanted, ports=[int(port) for port in ports.split(",") if port], seed=seed, argv=argv)


if __name__ == "__main__":
    try:
        sys.exit(main.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except TestbedError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
