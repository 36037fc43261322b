"""Pages behind the web server: `python -m testbed.world.backend PORT`, plain HTTP/1.1 on loopback.

`/bytes/N` N bytes, `/delay/S` after S seconds, `/status/C` with that status, `/headers` the request's headers as JSON;
anything else a small page that names the host.
"""

from __future__ import annotations

import asyncio
import html
import json
import sys
from collections.abc import Mapping

_MOST_BYTES, _MOST_DELAY_S = 1 << 30, 300.0
_CHUNK = bytes(range(256)) * 256


def page(path: str, headers: Mapping[str, str]) -> tuple[int, str, bytes | int, float]:
    """Return status, content type, body (or its length in bytes), and the delay in seconds."""
    kind, _, value = path.lstrip("/").partition("?")[0].partition("/")
    try:
        if kind == "bytes":
            return 200, "application/octet-stream", min(_MOST_BYTES, max(0, int(value))), 0.0
        if kind == "delay":
            return 200, "text/plain", b"late\n", min(_MOST_DELAY_S, max(0.0, float(value)))
        if kind == "status" and 200 <= int(value) <= 599:
            return int(value), "text/plain", f"{value}\n".encode(), 0.0
    except ValueError:
        return 400, "text/plain", b"bad number\n", 0.0
    if kind == "headers":
        return 200, "application/json", json.dumps(dict(headers), indent=1).encode(), 0.0
    host = html.escape(headers.get("host", "?"))
    text = f"<!doctype html>\n<html><head><title>{host}</title></head><body><h1>{host}</h1></body></html>\n"
    return 200, "text/html; charset=utf-8", text.encode(), 0.0


_BODILESS = frozenset({204, 205, 304})  # RFC 9110 §6.4.1


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await _serve_one(reader, writer):
            pass
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        pass  # the client went away, or does not speak HTTP
    writer.close()


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    status, content_type, body, delay_s = page(path, headers)
    await asyncio.sleep(delay_s)
    size = body if isinstance(body, int) else len(body)
    answer = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Status'}\r\n"
    if status not in _BODILESS:
        answer += f"Content-Type: {content_type}\r\nContent-Length: {size}\r\n"
    writer.write(f"{answer}\r\n".encode())
    if method != "HEAD" and status not in _BODILESS:
        if isinstance(body, bytes):
            writer.write(body)
        else:
            for start in range(0, size, len(_CHUNK)):
                writer.write(_CHUNK[: size - start])
                await writer.drain()
    await writer.drain()
    return headers.get("connection", "").lower() != "close"


async def serve(address: str, port: int) -> None:
    """Serve until cancelled."""
    server = await asyncio.start_server(_serve, address, port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve("127.0.0.1", int(sys.argv[1])))
