"""Serves the page on loopback and says where, the token in the address's fragment, which no browser sends anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable

import uvicorn

from testbed.dashboard.app import Dashboard
from testbed.dashboard.guard import new_token
from testbed.dashboard.runs import Runs
from testbed.errors import MachineError
from testbed.run.directory import RunDirectory

ADDRESS = "127.0.0.1"
_LAST_LOOK_S = 1.0
"""So long the page goes on when its run is over: browsers shall see the end."""


class _Server(uvicorn.Server):
    """Ends the browsers' streams before it waits for connections: cut off, each would print a traceback."""

    def __init__(self, config: uvicorn.Config, page: Dashboard) -> None:
        super().__init__(config)
        self._page = page

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of the browsers, then of the rest."""
        self._page.hub.close()
        await super().shutdown(sockets)


def serve(
    runs: Runs, first: RunDirectory | str | None, port: int, *, with_input: bool = False,
    announce: Callable[[str], None] | None = None,
) -> int:  # fmt: skip
    """Serve until Ctrl-C, or with `with_input` until standard input closes; `MachineError` if the port is taken."""
    listening = _listen(port)
    token = new_token()
    address = f"http://{ADDRESS}:{listening.getsockname()[1]}/#{token}"
    say = announce or (lambda text: print(f"live page: {text}", file=sys.stderr, flush=True))
    page = Dashboard(runs, first)
    config = uvicorn.Config(
        page.app(token), log_level="warning", access_log=False, lifespan="on",
        timeout_graceful_shutdown=1, ws="none", server_header=False,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again once it has shut down
        asyncio.run(_serve(_Server(config, page), listening, with_input, lambda: say(address)))
    return 0


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
    except OSError as error:
        listening.close()
        raise MachineError(
            f"port {port} of {ADDRESS} can't be had: {error.strerror}", "choose another --port"
        ) from None
    return listening


async def _serve(server: uvicorn.Server, listening: socket.socket, with_input: bool, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            loop.call_later(_LAST_LOOK_S, lambda: setattr(server, "should_exit", True))

    if with_input:
        loop.add_reader(sys.stdin.fileno(), look)
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        ready()
    await serving
