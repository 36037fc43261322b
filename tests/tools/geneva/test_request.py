"""Requests as the published strategies make them: the bytes that Nourin et al. (WWW 2023) send in their artifact."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from testbed.tools.geneva.parse import StrategyError, parse
from testbed.tools.geneva.proxy import RequestProxy
from testbed.tools.geneva.request import rewrite

HEAD = b"GET / HTTP/1.1\r\nHost: twitter.com\r\nConnection: close\r\n\r\n"
#: strategy → the request; the first three as application_http_evasion_strategies.py writes them
PUBLISHED = {
    r"[HTTP:host:*]-insert{%09%0A:start:value:1}-| \/": b"GET / HTTP/1.1\r\nHost: \t\ntwitter.com\r\n",
    r"[HTTP:version:*]-insert{%20%0A%09:end:value:1}-| \/": b"GET / HTTP/1.1 \n\t\r\nHost: twitter.com\r\n",
    r"[HTTP:method:*]-insert{%0A:start:value:1}-| \/": b"\nGET / HTTP/1.1\r\nHost: twitter.com\r\n",
    r"[HTTP:host:*]-insert{%20:end:value:3391}"
    r"(duplicate(duplicate(,replace{a:name:1}),insert{%09:start:name:1}),)-| \/":
        b"GET / HTTP/1.1\r\nHost: twitter.com" + b" " * 3391 + b"\r\na: twitter.com" + b" " * 3391
        + b"\r\n\tHost: twitter.com" + b" " * 3391 + b"\r\n",
    "[HTTP:host:*]-changecase{upper}-|": b"GET / HTTP/1.1\r\nHOST: TWITTER.COM\r\n",
    "[HTTP:path:*]-insert{x:middle:value:2}-|": b"GET xx/ HTTP/1.1\r\nHost: twitter.com\r\n",
}  # fmt: skip


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_requests(text: str) -> None:
    strategy = parse(text)
    assert rewrite(strategy, HEAD) == PUBLISHED[text] + b"Connection: close\r\n\r\n"
    assert parse(str(strategy)) == strategy


def test_what_is_no_request_is_left_as_it_is() -> None:
    assert (
        rewrite(parse("[HTTP:host:*]-changecase{upper}-|"), b"\x16\x03\x01 hello\r\n\r\n")
        == b"\x16\x03\x01 hello\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[HTTP:host:x]-changecase{upper}-|", "column 2: a trigger on requests takes any value, and no gas"),
        ("[HTTP:host:*]-tamper{TCP:flags:replace:R}-|", "column 15: unknown action `tamper`; known: duplicate, insert"),
        ("[TCP:flags:PA]-insert{a:start:value:1}-|", "column 16: unknown action `insert`; known: duplicate, drop"),
        ("[HTTP:host:*]-insert{a:nowhere:value:1}-|", "column 15: `insert` with the wrong parts; write `insert{%20"),
        ("[HTTP:host:*]-insert{a:end:value:99999}-|", "column 15: 99999 times; from 0 to 16384"),
        (r"[HTTP:host:*]-changecase{upper}-| [TCP:flags:PA]-drop-| \/", "column 36: requests and packets in one"),
    ],
)
def test_what_is_wrong_is_said_with_its_column(text: str, problem: str) -> None:
    with pytest.raises(StrategyError) as caught:
        parse(text)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("way", ["connect", "url"])
def test_the_proxy_changes_each_request_of_a_connection(way: str) -> None:
    assert asyncio.run(_through_the_proxy(way)) == [PUBLISHED[r"[HTTP:method:*]-insert{%0A:start:value:1}-| \/"]] * 2


async def _through_the_proxy(way: str) -> list[bytes]:
    seen: list[bytes] = []

    async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append((await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n"))
            writer.write(b"HTTP/1.1 204 No\r\n\r\n")
        writer.close()

    origin = await asyncio.start_server(site, "127.0.0.1", 0)
    proxy = RequestProxy(parse(r"[HTTP:method:*]-insert{%0A:start:value:1}-| \/"), "127.0.0.1")
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with origin, server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        port = origin.sockets[0].getsockname()[1]
        if way == "connect":
            writer.write(f"CONNECT twitter.com:{port} HTTP/1.1\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        first = b"/" if way == "connect" else f"http://twitter.com:{port}/".encode()
        for target in (first, b"/"):
            writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: twitter.com\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
        writer.close()
    return seen


def test_a_reset_on_the_way_ends_the_clients_connection() -> None:
    async def run() -> bytes:
        async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            linger_none = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
            writer.transport.abort()

        origin = await asyncio.start_server(site, "127.0.0.1", 0)
        server = await asyncio.start_server(RequestProxy(parse(""), "127.0.0.1").serve, "127.0.0.1", 0)
        async with origin, server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            port = origin.sockets[0].getsockname()[1]
            writer.write(f"GET http://twitter.com:{port}/ HTTP/1.1\r\nHost: twitter.com\r\n\r\n".encode())
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    assert asyncio.run(run()) == b""
