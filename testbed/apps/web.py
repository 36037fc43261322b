"""`web`: a page and its resources; `download`: one file; `video`: segments played as they come. HTTP/1.1 over TLS."""

from __future__ import annotations

import asyncio
import html
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from testbed.apps.connect import Access, connected
from testbed.apps.outcome import Attempt, Failure, doing, word_for

if TYPE_CHECKING:  # a client of a tool's test starts in half the time without it
    from testbed.scenario.params import BrowserParams, DownloadParams, VideoParams, WebParams

_BROWSER_CONNECTIONS, _STARTUP_SLOW_S = 6, 5.0
_TITLE, _TITLE_WITHIN_BYTES = re.compile(rb"<title>([^<]*)</title>", re.IGNORECASE), 65536
_UNTITLED = ("/bytes/", "/delay/", "/status/", "/headers")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, body size in bytes, how the body starts, seconds to the first byte and to the last."""

    status: int
    size: int
    start: bytes
    ttfb_s: float
    total_s: float

    @property
    def title(self) -> str:
        """The title of an HTML page, empty if it has none."""
        return title_of(self.start)


def title_of(start: bytes) -> str:
    """Return the title of an HTML page that begins so, empty if it has none."""
    found = _TITLE.search(start)
    return html.unescape(found[1].decode("utf-8", "replace")).strip() if found else ""


async def get(url: str, access: Access, address: str | None = None) -> Response:
    """Fetch a URL, from `address` if given; `Failure` says what went wrong in which operation."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    begun = time.monotonic()
    port = parts.port or (443 if secure else 80)
    async with connected(host, port, access, secure=secure, address=address) as stream:
        reader, writer = stream
        doing("http_round_trip")
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            named = host if parts.port is None else f"{host}:{parts.port}"
            request = f"GET {target} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
            writer.write(request.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            ttfb_s = time.monotonic() - begun
            size, start = await _body(reader, head)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Failure(word_for(error), "http_round_trip") from error
    return Response(_status(head), size, start, ttfb_s, time.monotonic() - begun)


def _status(head: str) -> int:
    try:
        return int(head.split(" ", 2)[1])
    except (IndexError, ValueError):
        raise Failure("unknown_failure: not an HTTP response", "http_round_trip") from None


async def _body(reader: asyncio.StreamReader, head: str) -> tuple[int, bytes]:
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
    wanted = int(headers["content-length"]) if "content-length" in headers else None
    size, start = 0, b""
    while wanted is None or size < wanted:
        chunk = await reader.read(65536)
        if not chunk:
            break
        size += len(chunk)
        start = start if len(start) >= _TITLE_WITHIN_BYTES else start + chunk
    if wanted is not None and size < wanted:
        raise EOFError("the body ended early")
    return size, start


async def page(params: WebParams, access: Access) -> Attempt:
    """Load a page, then its resources over at most six connections, as browsers do."""
    begun = time.monotonic()
    first = await get(params.url, access, params.address)
    slots = asyncio.Semaphore(_BROWSER_CONNECTIONS)

    async def fetch(resource: str) -> Response:
        async with slots:
            return await get(resource, access)

    rest = await asyncio.gather(*(fetch(resource) for resource in params.resources))
    load_s = time.monotonic() - begun
    kpis = {
        "load_s": load_s, "ttfb_s": first.ttfb_s, "status": first.status,
        "bytes": first.size + sum(response.size for response in rest),
    }  # fmt: skip
    if not is_right(params, first):
        return Attempt(kpis, blocking="http-diff")
    return Attempt(kpis, slow=load_s > params.slow_s)


def is_right(params: WebParams, response: Response) -> bool:
    """Say whether a page is the right one: its status, and its title if it is there (OONI's `http-diff` if not)."""
    if response.status != params.status:
        return False
    return response.status != 200 or response.title == expected_title(params)


def expected_title(params: WebParams | BrowserParams) -> str:
    """Return what the page has for a title: as it is said, or the world's own."""
    return params.title if params.title is not None else own_title(params.url)


def own_title(url: str) -> str:
    """Return what the world's own page has for a title, the `Host` it was asked for; some paths have none."""
    parts = urlsplit(url)
    named = parts.hostname or "" if parts.port is None else f"{parts.hostname}:{parts.port}"
    return "" if parts.path.startswith(_UNTITLED) else named


async def download(params: DownloadParams, access: Access) -> Attempt:
    """Fetch one file and measure its goodput."""
    response = await get(params.url, access)
    goodput = response.size * 8 / max(response.total_s - response.ttfb_s, 1e-6)
    kpis = {
        "goodput_bps": goodput, "bytes": response.size, "ttfb_s": response.ttfb_s, "total_s": response.total_s,
        "status": response.status,
    }  # fmt: skip
    return Attempt(kpis, slow=goodput < params.slow_bps)


async def video(params: VideoParams, access: Access) -> Attempt:
    """Fetch segments one by one and play them: start-up time, rebuffering, the rate the viewer gets."""
    base, rates = params.url.rstrip("/"), sorted(params.rates_bps)
    begun = time.monotonic()
    chosen, startup_s, stalled_s, stalls = rates[0], 0.0, 0.0, 0
    played_until = 0.0
    used: list[float] = []
    for number in range(params.segments):
        response = await get(f"{base}/bytes/{int(chosen * params.segment_s / 8)}", access)
        used.append(chosen)
        now = time.monotonic() - begun
        if number == 0:
            startup_s = played_until = now
        elif now > played_until:
            stalls, stalled_s, played_until = stalls + 1, stalled_s + now - played_until, now
        played_until += params.segment_s
        measured = response.size * 8 / max(response.total_s, 1e-6)
        chosen = max((rate for rate in rates if rate < 0.8 * measured), default=rates[0])
    kpis = {"startup_s": startup_s, "rebuffers": stalls, "rebuffer_s": stalled_s, "bitrate_bps": sum(used) / len(used)}
    return Attempt(kpis, slow=stalls > 0 or startup_s > _STARTUP_SLOW_S)
