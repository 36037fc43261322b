"""`web`: a page and its resources; `download`: one file; `video`: segments played as they come. HTTP/1.1 over TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from testbed.apps.connect import Access, connected
from testbed.apps.outcome import Attempt, Failure, word_for

_PAGE_SLOW_S, _GOOD_BPS, _BROWSER_CONNECTIONS = 10.0, 64_000.0, 6


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, body size in bytes, seconds to the first byte and to the last."""

    status: int
    size: int
    ttfb_s: float
    total_s: float


async def get(url: str, access: Access) -> Response:
    """Fetch a URL; `Failure` says what went wrong in which operation."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    begun = time.monotonic()
    async with connected(host, parts.port or (443 if secure else 80), access, secure=secure) as stream:
        reader, writer = stream
        try:
            request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
            writer.write(request.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            ttfb_s = time.monotonic() - begun
            size = await _body(reader, head)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            raise Failure(word_for(error), "http_round_trip") from error
    return Response(int(head.split(" ", 2)[1]), size, ttfb_s, time.monotonic() - begun)


async def _body(reader: asyncio.StreamReader, head: str) -> int:
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
    wanted = int(headers["content-length"]) if "content-length" in headers else None
    size = 0
    while wanted is None or size < wanted:
        chunk = await reader.read(65536)
        if not chunk:
            break
        size += len(chunk)
    if wanted is not None and size < wanted:
        raise EOFError("the body ended early")
    return size


async def page(params: Mapping[str, Any], access: Access) -> Attempt:
    """Load a page, then its resources over at most six connections, as browsers do."""
    url = str(params["url"])
    begun = time.monotonic()
    first = await get(url, access)
    resources = [str(resource) for resource in params.get("resources", [])]
    slots = asyncio.Semaphore(_BROWSER_CONNECTIONS)

    async def fetch(resource: str) -> Response:
        async with slots:
            return await get(resource, access)

    rest = await asyncio.gather(*(fetch(resource) for resource in resources))
    load_s = time.monotonic() - begun
    kpis = {
        "load_s": load_s, "ttfb_s": first.ttfb_s, "status": first.status,
        "bytes": first.size + sum(response.size for response in rest),
    }  # fmt: skip
    return Attempt(kpis, slow=load_s > float(params.get("slow_s", _PAGE_SLOW_S)))


async def download(params: Mapping[str, Any], access: Access) -> Attempt:
    """Fetch one file and measure its goodput."""
    response = await get(str(params["url"]), access)
    goodput = response.size * 8 / max(response.total_s - response.ttfb_s, 1e-6)
    kpis = {"goodput_bps": goodput, "bytes": response.size, "total_s": response.total_s, "status": response.status}
    return Attempt(kpis, slow=goodput < float(params.get("slow_bps", _GOOD_BPS)))


async def video(params: Mapping[str, Any], access: Access) -> Attempt:
    """Fetch segments one by one and play them: start-up time, rebuffering, the rate the viewer gets."""
    base, segment_s, segments = (
        str(params["url"]).rstrip("/"),
        float(params.get("segment_s", 4)),
        int(params.get("segments", 3)),
    )
    rates = sorted(float(rate) for rate in params.get("rates_bps", [100_000, 250_000, 500_000]))
    begun = time.monotonic()
    chosen, startup_s, stalled_s, stalls = rates[0], 0.0, 0.0, 0
    played_until = 0.0
    used: list[float] = []
    for number in range(segments):
        response = await get(f"{base}/bytes/{int(chosen * segment_s / 8)}", access)
        used.append(chosen)
        now = time.monotonic() - begun
        if number == 0:
            startup_s = played_until = now
        elif now > played_until:
            stalls, stalled_s, played_until = stalls + 1, stalled_s + now - played_until, now
        played_until += segment_s
        measured = response.size * 8 / max(response.total_s, 1e-6)
        chosen = max((rate for rate in rates if rate < 0.8 * measured), default=rates[0])
    kpis = {"startup_s": startup_s, "rebuffers": stalls, "rebuffer_s": stalled_s, "bitrate_bps": sum(used) / len(used)}
    return Attempt(kpis, slow=stalls > 0 or startup_s > 5)
