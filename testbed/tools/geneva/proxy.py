"""An HTTP proxy on the client's own host that plays a strategy on the requests of whoever uses it.

Both ways in which programs use a proxy work: `CONNECT host:port`, and a whole URL in the first line. A request with a
body is changed too; what comes behind that body is passed on as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from urllib.parse import urlsplit

from testbed.tools.geneva.request import rewrite
from testbed.tools.geneva.strategy import Strategy

_END, _MOST_HEAD, _CHUNK, _CONNECT_S = b"\r\n\r\n", 65536, 65536, 30.0
_HAS_BODY = re.compile(rb"\r\n(?:content-length:\s*[1-9]|transfer-encoding:)", re.IGNORECASE)
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RequestProxy:
    """One strategy; `to` stands for the address of every site, if given."""

    def __init__(self, strategy: Strategy, to: str | None = None) -> None:
        self._strategy, self._to = strategy, to

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client to its end."""
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            head = await reader.readuntil(_END)
            method, target, _ = head.split(b" ", 2)
            if method == b"CONNECT":
                host, _, port = target.decode().rpartition(":")
                site = await self._connect(host, int(port), writer)
                writer.write(b"HTTP/1.1 200 Connected" + _END)
                head = b""
            else:
                url = urlsplit(target.decode())
                site = await self._connect(url.hostname or "", url.port or 80, writer)
                path = (url.path or "/") + (f"?{url.query}" if url.query else "")
                head = head.replace(target, path.encode(), 1)
            await self._relay(head, (reader, writer), site)

    async def _connect(self, host: str, port: int, client: asyncio.StreamWriter) -> _Streams:
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await asyncio.open_connection(self._to or host.strip("[]"), port, limit=_MOST_HEAD)
        except OSError:
            client.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0" + _END)
            await client.drain()
            raise

    async def _relay(self, head: bytes, client: _Streams, site: _Streams) -> None:
        with contextlib.closing(site[1]):
            head = head or await client[0].readuntil(_END)
            back = asyncio.create_task(_copy(site[0], client[1]))
            forth = asyncio.create_task(self._requests(head, client[0], site[1]))
            try:
                await asyncio.wait({back, forth}, return_when=asyncio.FIRST_COMPLETED)
                await back  # a site that ended or was reset ends the client's connection; a client may be done earlier
            finally:
                for task in (back, forth):
                    task.cancel()
                await asyncio.gather(back, forth, return_exceptions=True)

    async def _requests(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(rewrite(self._strategy, head))
            if _HAS_BODY.search(head):
                await _copy(reader, writer)
                return
            try:
                head = await reader.readuntil(_END)
            except asyncio.IncompleteReadError:
                return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()


async def play(strategy: Strategy, address: str, port: int, to: str | None = None) -> None:
    """Serve on an address until SIGTERM or SIGINT."""
    proxy = RequestProxy(strategy, to)
    server = await asyncio.start_server(proxy.serve, address, port, limit=_MOST_HEAD)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("ready", flush=True)
    await stop.wait()
    server.close()
