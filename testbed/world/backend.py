"""Pages behind the web server: `python -m testbed.world.backend PORT CA-FOLDER`, plain HTTP/1.1 on loopback.

`/bytes/N` N bytes, `/delay/S` after S seconds, `/status/C` with that status, `/headers` the request's headers as JSON,
`/generate_204` nothing, as browsers and phones expect of the Internet and not of a hotel's log-in page; anything else a
small page that names the host.

With one word, `ADDRESS:PORT`, it is a web server of its own, one that takes requests which most others refuse: white
space and newlines where RFC 9112 has none.
"""

from __future__ import annotations

import asyncio
import html
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from testbed.authority import Authority
from testbed.world.issuer import Issuer

_MOST_BYTES, _MOST_DELAY_S = 1 << 30, 300.0
_CHUNK = bytes(range(256)) * 256


def page(path: str, headers: Mapping[str, str]) -> tuple[int, str, bytes | int, float]:
    """Return status, content type, body (or its length in bytes), and the delay in seconds."""
    kind, _, value = path.lstrip("/").partition("?")[0].partition("/")
    try:
        if kind == "bytes":
            return 200, "application/octet-stream", min(_MOST_BYTES, max(0, int(value))), 0.0
        if kind == "delay":
            return 200, "text/plain", b"late\n", _delay(float(value))
        if kind == "status":
            return _status(int(value)), "text/plain", f"{value}\n".encode(), 0.0
    except ValueError:
        return 400, "text/plain", b"bad number\n", 0.0
    if kind == "generate_204":
        return 204, "text/plain", b"", 0.0
    if kind == "headers":
        return 200, "application/json", json.dumps(dict(headers), indent=1).encode(), 0.0
    host = html.escape(headers.get("host", "?"))
    text = f"<!doctype html>\n<html><head><title>{host}</title></head><body><h1>{host}</h1></body></html>\n"
    return 200, "text/html; charset=utf-8", text.encode(), 0.0


def _delay(seconds: float) -> float:
    if not 0 <= seconds < float("inf"):
        raise ValueError(seconds)
    return min(_MOST_DELAY_S, seconds)


def _status(code: int) -> int:
    if not 200 <= code <= 599:
        raise ValueError(code)
    return code


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
    await _read_body(reader, headers)
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


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> None:
    """Read a request's body away, so that the next request begins where it ends."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        left = int(headers.get("content-length", "0"))
        while left > 0:
            left -= len(await reader.readexactly(min(left, 65536)))
        return
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        await reader.readexactly(size + 2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers


async def serve(address: str, port: int) -> None:
    """Serve until cancelled."""
    server = await asyncio.start_server(_serve, address, port)
    print("ready", flush=True)
    await server.serve_forever()


async def main(port: int, authority: Path) -> None:
    """Serve pages on a port of loopback and certificates on the next one."""
    issuer = Issuer(Authority.load(authority))
    await asyncio.gather(serve("127.0.0.1", port), issuer.serve("127.0.0.1", port + 1))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        own_address, _, own_port = sys.argv[1].rpartition(":")
        asyncio.run(serve(own_address, int(own_port)))
    else:
        asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
