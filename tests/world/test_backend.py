"""The world's pages: what each path answers, and that a connection goes on whatever body a request had."""

from __future__ import annotations

import asyncio
import json

import pytest

from testbed.world import backend


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/bytes/5", (200, 5, 0.0)), ("/bytes/-5", (200, 0, 0.0)), ("/bytes/x", (400, b"bad number\n", 0.0)),
        ("/bytes/99999999999", (200, 1 << 30, 0.0)), ("/delay/0.5", (200, b"late\n", 0.5)),
        ("/delay/9999", (200, b"late\n", 300.0)), ("/delay/nan", (400, b"bad number\n", 0.0)),
        ("/delay/-1", (400, b"bad number\n", 0.0)), ("/status/404", (404, b"404\n", 0.0)),
        ("/status/418?why=tea", (418, b"418\n", 0.0)), ("/status/999", (400, b"bad number\n", 0.0)),
        ("/status/100", (400, b"bad number\n", 0.0)), ("/generate_204", (204, b"", 0.0)),
    ],
)  # fmt: skip
def test_paths(path: str, expected: tuple[int, bytes | int, float]) -> None:
    status, _, body, delay_s = backend.page(path, {})
    assert (status, body, delay_s) == expected


def test_a_page_names_its_host_and_escapes_it() -> None:
    _, _, body, _ = backend.page("/", {"host": "<a>.example"})
    assert isinstance(body, bytes)
    assert b"<title>&lt;a&gt;.example</title>" in body


def test_headers_come_back_as_json() -> None:
    _, kind, body, _ = backend.page("/headers", {"host": "a", "x": "1"})
    assert kind == "application/json"
    assert isinstance(body, bytes)
    assert json.loads(body) == {"host": "a", "x": "1"}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"content-length": "3"}, b"abc"),
        ({"transfer-encoding": "chunked"}, b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"),
        ({"transfer-encoding": "chunked"}, b"3\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n"),
    ],
)
def test_the_next_request_begins_where_a_body_ends(headers: dict[str, str], body: bytes) -> None:
    async def rest() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(body + b"NEXT")
        reader.feed_eof()
        await backend._read_body(reader, headers)
        return await reader.read()

    assert asyncio.run(rest()) == b"NEXT"
