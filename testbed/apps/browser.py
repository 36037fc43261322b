"""`browser`: a page in a real browser: what a person sees, how long it takes, and a picture of it.

The browser uses the host's own resolver and trusts the run's authority by the host's `~/.pki/nssdb`, as any program
does. Each attempt is a new profile: nothing is cached, and no connection is left from before. What it shows is read
from the page itself: the title of a page, or the heading and the code at the foot of the browser's error page.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testbed.apps import chromium, neterrors
from testbed.apps.connect import Access, is_bogon
from testbed.apps.outcome import Attempt, Failure
from testbed.apps.shown import WAITING, Shown
from testbed.apps.web import expected_title
from testbed.scenario.params import BrowserParams

_PICTURE_S = 3.0  # of the app's timeout: what is shown then is still to be photographed
_DRAWN_S = 1.0
#: whom a browser asks at its start whatever page is wanted; it would stand among the censor's decisions
_OWN_BUSINESS = (
    "accounts.google.com", "clients2.google.com", "clients2.googleusercontent.com", "update.googleapis.com",
    "optimizationguide-pa.googleapis.com", "safebrowsing.googleapis.com", "content-autofill.googleapis.com",
    "edgedl.me.gvt1.com", "redirector.gvt1.com",
)  # fmt: skip
_SEEN = """(() => {
  const text = (...all) => document.querySelector(all.join())?.innerText.trim() || '';
  const n = performance.getEntriesByType('navigation')[0];
  return {title: document.title, heading: text('h1'), code: text('.error-code', '#error-code'),
          load_ms: n ? n.loadEventEnd : 0, ttfb_ms: n ? n.responseStart : 0};
})()"""


async def look(params: BrowserParams, access: Access, timeout_s: float, picture: Path) -> Attempt:
    """Open a page, take its picture, and say what a person sees."""
    until = time.monotonic() + max(timeout_s - _PICTURE_S, timeout_s / 2)
    if params.browser == "firefox":
        from testbed.apps import firefox

        shown, photograph = await firefox.look(params, access, until)
    else:
        shown, photograph = await _look(params, access, until)
    picture.write_bytes(base64.b64decode(photograph))
    forged = shown.error and await _is_forged(params, access)
    return judge(params, shown, picture.name, forged=bool(forged))


async def _look(params: BrowserParams, access: Access, until: float) -> tuple[Shown, str]:
    """Open a page in Chromium; return what is shown and its picture in base 64."""
    path = chromium.program()
    if path is None:
        raise Failure("unknown_failure: no Chromium on this machine", "start the browser")
    try:
        async with chromium.opened(path, flags(params, access)) as page:
            shown = await _visit(page, params.url, until)
            return shown, str((await page.call("Page.captureScreenshot", format="png"))["data"])
    except chromium.BrowserError as error:
        raise Failure(f"unknown_failure: {error}", "start the browser") from error


def flags(params: BrowserParams, access: Access) -> list[str]:
    """Return what the browser is told beyond the usual."""
    parts = urlsplit(params.url)
    found = ["--window-size=1024,640"]
    rules = [f"MAP {name} ~NOTFOUND" for name in _OWN_BUSINESS if name != parts.hostname]
    if access.proxy is not None:
        found += [f"--proxy-server={access.proxy}", "--proxy-bypass-list=<-loopback>"]
    if params.address is not None:
        address = f"[{params.address}]" if ":" in params.address else params.address
        rules.append(f"MAP {parts.hostname} {address}")
    found.append(f"--host-resolver-rules={', '.join(rules)}")
    if params.tls == "1.2":
        found.append("--ssl-version-max=tls1.2")
    if params.http3:
        # an `Alt-Svc` header does not do: Chromium believes in HTTP/3 only from authorities that ship with it
        found += ["--enable-quic", f"--origin-to-force-quic-on={parts.hostname}:{parts.port or 443}"]
    else:
        found.append("--disable-quic")
    return found


async def _visit(page: chromium.Page, url: str, until: float) -> Shown:
    """Go to a page and wait until it has loaded, an error is shown, or the time is up."""
    for method in ("Page.enable", "Network.enable"):
        await page.call(method)
    await page.call("Page.setLifecycleEventsEnabled", enabled=True)
    begun, error = time.monotonic(), ""
    try:
        async with asyncio.timeout(until - begun):
            went = await page.call("Page.navigate", url=url)
            error = went.get("errorText", "")
            if not error:
                await page.event("Page.lifecycleEvent", name="load", loaderId=went["loaderId"])
    except TimeoutError:
        error = "" if _response(page) else WAITING
    wait_s = time.monotonic() - begun
    if error == WAITING:  # a page that is awaited answers no question; its window can be photographed
        seen: Mapping[str, Any] = {}
    else:
        seen = await (_error_page(page, until) if error else page.evaluate(_SEEN))
    received = sum(s.get("encodedDataLength", 0) for name, s in page.events if name == "Network.loadingFinished")
    shown = (error and seen.get("code")) or error
    return Shown(shown.rpartition("::")[2], seen, {} if error else _response(page), received, wait_s)


async def _error_page(page: chromium.Page, until: float) -> Mapping[str, Any]:
    """Wait until the browser has drawn its error page.

    It says `DNS_PROBE_STARTED` while it asks for other names to find out what is wrong with one that has no address:
    the host's resolver, and a public one, for whose silence it waits 12 s.
    """
    drawn = time.monotonic() + _DRAWN_S
    while True:
        seen: Mapping[str, Any] = await page.evaluate(_SEEN)
        probing = seen["code"] == "DNS_PROBE_STARTED"
        if (seen["code"] and not probing) or time.monotonic() > (until if probing else drawn):
            return seen
        await asyncio.sleep(0.05)


def _response(page: chromium.Page) -> Mapping[str, Any]:
    """Return the answer for the page itself, the last one if it was redirected."""
    found: Mapping[str, Any] = {}
    for name, said in page.events:
        if name == "Network.responseReceived" and said["type"] == "Document":
            found = found or said["response"]
    return found


async def _is_forged(params: BrowserParams, access: Access) -> bool:
    """Ask the host's resolver what it told the browser; it remembers, so that no new question crosses the censor."""
    if params.address is not None or access.proxy is not None:
        return False
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(urlsplit(params.url).hostname, None, type=socket.SOCK_STREAM)
            return any(is_bogon(str(entry[4][0])) for entry in found)
    return False


def judge(params: BrowserParams, shown: Shown, picture: str, *, forged: bool) -> Attempt:
    """Turn what is shown into a verdict: the page, another page, an error, or nothing at all.

    `forged`: the resolver gave an address that no server can have, which is what then refused or kept silent.
    """
    kpis: dict[str, float | int | str] = {"wait_s": shown.wait_s}
    detail: dict[str, Any] = {"screenshot": picture, "seen": _words(shown)}
    if shown.error:
        word, operation, blocking = ("generic_timeout_error", None, None) if shown.error == WAITING else (
            neterrors.meaning(shown.error))  # fmt: skip
        if forged:
            operation, blocking = "connect to a forged address", "dns"
        kpis["error"] = shown.error
        return Attempt(kpis, failure=word, blocking=blocking, detail={**detail, "operation": operation})
    status, address = int(shown.response.get("status", 0)), str(shown.response.get("remoteIPAddress", ""))
    load_s = shown.seen["load_ms"] / 1e3
    kpis |= {
        "ttfb_s": shown.seen["ttfb_ms"] / 1e3, "status": status, "bytes": round(shown.received_bytes),
        "protocol": str(shown.response.get("protocol", "")),
    }  # fmt: skip
    right = status == params.status and (status != 200 or shown.seen["title"] == expected_title(params))
    if not right:
        blocking = "dns" if is_bogon(address.strip("[]")) else "http-diff"
        return Attempt(kpis, blocking=blocking, detail=detail)
    if not load_s:
        return Attempt(kpis, failure="generic_timeout_error", blocking="http-failure", detail=detail)
    return Attempt({**kpis, "load_s": load_s}, slow=load_s > params.slow_s, detail=detail)


def _words(shown: Shown) -> str:
    """Say in a line what a person reads first."""
    if shown.error == WAITING:
        return "nothing: the page is still awaited"
    parts = [shown.seen["heading"] or shown.seen["title"], shown.seen["code"].rpartition("::")[2]]
    return ", ".join(part for part in parts if part) or "a page without a title"
