"""Fetch a URL over HTTP/3 with aioquic: `python http3.py URL CA.pem [ADDRESS]` prints the status, or fails."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from urllib.parse import urlsplit

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


class Http3(QuicConnectionProtocol):
    """One request on one connection."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.http = H3Connection(self._quic)
        self.status: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def get(self, host: str, path: str) -> str:
        """Return the status of a GET."""
        headers = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in headers.items()], end_stream=True)
        self.transmit()
        return await asyncio.wait_for(self.status, 10)

    def quic_event_received(self, event: QuicEvent) -> None:
        for item in self.http.handle_event(event):
            if isinstance(item, HeadersReceived) and not self.status.done():
                self.status.set_result(dict(item.headers)[b":status"].decode())


async def main(url: str, ca: str, address: str | None = None) -> None:
    """Fetch and print; with an address, without asking for the name."""
    parts = urlsplit(url)
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=parts.hostname)
    configuration.load_verify_locations(ca)
    async with connect(
        address or str(parts.hostname), 443, configuration=configuration, create_protocol=Http3
    ) as client:
        print(await client.get(str(parts.hostname), parts.path or "/"))  # type: ignore[attr-defined]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
