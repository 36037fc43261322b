"""Certificates for any name, minted when a client first asks for it: caddy asks here, on loopback, at each handshake.

caddy's own issuer refuses some of several first handshakes at once (its rate limiter, certmagic 0.17) and names longer
than a file name may be; this one does neither.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

from testbed.authority import Authority


class Issuer:
    """Mints and remembers certificates of one authority."""

    def __init__(self, authority: Authority) -> None:
        self._mint = lru_cache(maxsize=4096)(lambda name: b"".join(authority.mint([name])))

    def answer(self, target: str) -> bytes | None:
        """Return chain and key in PEM for a request's target; None where the client named no server."""
        name = parse_qs(urlsplit(target).query).get("server_name", [""])[0].lower().rstrip(".")
        try:
            return self._mint(name) if name else None
        except ValueError:  # nothing that a certificate can name
            return None

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection; 204 tells caddy to look elsewhere."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                found = self.answer(head.split(" ", 2)[1])
                if found is None:
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(found) + found)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, IndexError):
            pass  # caddy has closed it
        writer.close()

    async def serve(self, address: str, port: int) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self.serve_one, address, port)
        await server.serve_forever()
