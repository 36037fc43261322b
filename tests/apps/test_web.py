"""HTTP responses as a censor or a bad line may deliver them, fed byte for byte."""

from __future__ import annotations

import asyncio

import pytest

from testbed.apps import web
from testbed.apps.outcome import Failure
from testbed.scenario.params import WebParams

PAGE = b"<!doctype html><title>news.example</title>"


def body(*chunks: bytes, head: str = "HTTP/1.1 200 OK") -> tuple[int, bytes]:
    async def read() -> tuple[int, bytes]:
        reader = asyncio.StreamReader()
        for chunk in chunks:
            reader.feed_data(chunk)
        reader.feed_eof()
        return await web._body(reader, head)

    return asyncio.run(read())


def test_a_body_ends_with_its_length_or_with_the_connection() -> None:
    assert body(PAGE, head=f"HTTP/1.1 200 OK\r\nContent-Length: {len(PAGE)}") == (len(PAGE), PAGE)
    assert body(b"a", b"b") == (2, b"ab")
    assert body(b"a", head="HTTP/1.1 204 No Content\r\nContent-Length: 0") == (0, b"")


def test_a_body_cut_short_is_an_end_of_file() -> None:
    with pytest.raises(EOFError):
        body(b"abc", head="HTTP/1.1 200 OK\r\nContent-Length: 4")


@pytest.mark.parametrize("head", ["", "nonsense", "HTTP/1.1 two"])
def test_what_is_not_http_is_a_failure(head: str) -> None:
    with pytest.raises(Failure, match="unknown_failure: not an HTTP response"):
        web._status(head)


def response(status: int, start: bytes) -> web.Response:
    return web.Response(status, len(start), start, 0.1, 0.2)


@pytest.mark.parametrize(
    ("url", "keys", "found", "right"),
    [
        ("https://news.example/", {}, response(200, PAGE), True),
        ("https://news.example/", {}, response(403, PAGE), False),
        ("https://news.example/", {}, response(200, b"<TITLE> Blocked </TITLE>"), False),
        ("https://news.example/", {"title": "Blocked"}, response(200, b"<TITLE> Blocked </TITLE>"), True),
        ("https://news.example/status/404", {"status": 404}, response(404, b"404\n"), True),
        ("https://news.example/bytes/9", {}, response(200, b"\x00<title"), True),
    ],
)
def test_another_page_than_the_right_one_is_noticed(
    url: str, keys: dict[str, object], found: web.Response, right: bool
) -> None:
    assert web.is_right(WebParams.model_validate({"url": url, **keys}), found) is right
