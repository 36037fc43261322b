"""`command`: any unmodified program; its exit status is the outcome."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from testbed.apps.outcome import Attempt
from testbed.scenario.params import CommandParams


def environment(proxy: str | None) -> dict[str, str]:
    """Return the environment by which most programs find a proxy; with it, names are resolved at its far end."""
    if proxy is None:
        return dict(os.environ)
    far = proxy.replace("socks5://", "socks5h://")
    names = ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "http_proxy")
    return {**os.environ, **dict.fromkeys(names, far), "NO_PROXY": "", "no_proxy": ""}


async def run(params: CommandParams, proxy: str | None, wrapper: Sequence[str]) -> Attempt:
    """Run `argv` to its end; a status other than 0 means blocked. Cancelling ends the program."""
    begun = time.monotonic()
    argv = [*wrapper, *params.argv]
    process = await asyncio.create_subprocess_exec(*argv, env=environment(proxy))
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        raise
    kpis = {"status": status, "total_s": time.monotonic() - begun}
    return Attempt(kpis, failure=f"unknown_failure: exit status {status}" if status else None)
