"""An unmodified Firefox, told what to do by WebDriver BiDi (W3C), on a port of the host's own loopback.

Its profile is new, and holds the host's `~/.pki/nssdb`, which is all it needs to trust the run's authority. What it
would ask for on its own is switched off in the profile; what it writes goes to the app's log.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from testbed.apps.connect import Access
from testbed.apps.outcome import Failure
from testbed.apps.shown import WAITING, Shown
from testbed.scenario.params import BrowserParams

PROGRAMS = ("firefox-esr", "firefox")
_SIZE = (1024, 500)
_SEEN = """(() => {
  const all = (root, tag) => [...root.querySelectorAll('*')].flatMap(
      e => [...(e.matches(tag) ? [e] : []), ...(e.shadowRoot ? all(e.shadowRoot, tag) : [])]);
  const text = tag => all(document, tag).map(e => e.innerText.trim()).filter(Boolean);
  const codes = text('*').map(t => t.match(/^Error [Cc]ode: ([A-Z_]+)$/)).filter(Boolean).map(m => m[1]);
  const n = performance.getEntriesByType('navigation')[0];
  return {title: document.title, heading: text('h1')[0] || '', code: codes[0] || '',
          load_ms: n ? n.loadEventEnd : 0, ttfb_ms: n ? n.responseStart : 0};
})()"""
EVENTS = ("network.responseCompleted", "browsingContext.load")
_LISTENS = "WebDriver BiDi listening on "
_END_S, _DRAWN_S = 3.0, 2.0
#: whom the browser asks whatever page is wanted; here nobody
_OWN_BUSINESS = (
    "firefox.settings.services.mozilla.com", "content-signature-2.cdn.mozilla.net", "contile.services.mozilla.com",
    "push.services.mozilla.com", "detectportal.firefox.com", "incoming.telemetry.mozilla.org", "aus5.mozilla.org",
)  # fmt: skip
_QUIET: Mapping[str, bool | int | str] = {
    "app.normandy.enabled": False, "app.update.enabled": False, "browser.newtabpage.enabled": False,
    "browser.fixup.alternate.enabled": False,
    "browser.region.network.url": "", "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False, "browser.safebrowsing.update.enabled": False,
    "browser.search.update": False, "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False, "dom.security.https_first": False,
    "dom.security.https_first_schemeless": False, "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False, "extensions.update.enabled": False,
    "intl.locale.requested": "en-US", "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True, "network.prefetch-next": False, "network.trr.mode": 5,
    "services.settings.server": "data:,", "toolkit.telemetry.enabled": False,
}  # fmt: skip


def program() -> str | None:
    """Return the browser's path on this machine, None if there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class FirefoxError(Exception):
    """The browser ended, or refused a command; `said` is its word for it, empty if it ended."""

    def __init__(self, what: str, said: str = "") -> None:
        super().__init__(what)
        self.said = said


class Window:
    """The one window of a browser: commands with their answers, and the events that came with them."""

    def __init__(self, socket: ClientConnection) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self._socket = socket
        self._last = 0
        self._context = ""

    async def call(self, method: str, **params: Any) -> Mapping[str, Any]:
        """Send a command and return its result."""
        self._last += 1
        try:
            await self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
            while True:
                message = json.loads(await self._socket.recv())
                if message.get("id") == self._last:
                    break
                self.events.append((message.get("method", ""), message.get("params", {})))
        except (OSError, ConnectionClosed) as error:
            raise FirefoxError(f"the browser ended: {error}") from error
        if message["type"] == "error":
            raise FirefoxError(f"{method}: {message['message']}", str(message["message"]))
        return dict(message["result"])

    async def begin(self, width: int, height: int) -> None:
        """Begin a session and take the window that is there."""
        await self.call("session.new", capabilities={})
        contexts = (await self.call("browsingContext.getTree"))["contexts"]
        self._context = contexts[0]["context"]
        await self.call("session.subscribe", events=list(EVENTS))
        viewport = {"width": width, "height": height}
        await self.call("browsingContext.setViewport", context=self._context, viewport=viewport)

    async def navigate(self, url: str) -> None:
        """Open a page and wait until it is there; `FirefoxError` says why it isn't."""
        await self.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page, carried as JSON."""
        target = {"context": self._context}
        wrapped = f"JSON.stringify({expression})"
        answer = await self.call("script.evaluate", expression=wrapped, target=target, awaitPromise=False)
        return json.loads(answer["result"]["value"])

    async def photograph(self) -> str:
        """Return a picture of the page, PNG in base 64."""
        return str((await self.call("browsingContext.captureScreenshot", context=self._context))["data"])


@asynccontextmanager
async def opened(path: str, settings: Mapping[str, bool | int | str], size: tuple[int, int]) -> AsyncIterator[Window]:
    """Start a browser with a fresh profile and yield its window; afterwards browser and profile are gone."""
    with tempfile.TemporaryDirectory(prefix="testbed-browser-", ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        _prepare(profile, {**_QUIET, **settings})
        process = await asyncio.create_subprocess_exec(
            path, "--headless", "--no-remote", "--profile", folder, "--remote-debugging-port", "0", "about:blank",
            stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, stderr=asyncio.subprocess.PIPE, process_group=0,
            env={**os.environ, "HOME": folder, "MOZ_DISABLE_CONTENT_SANDBOX": "1", "MOZ_CRASHREPORTER_DISABLE": "1"},
        )  # fmt: skip
        assert process.stderr is not None
        logging = None
        try:
            address = await _address(process.stderr)
            logging = asyncio.create_task(_log(process.stderr))
            async with connect(f"{address}/session", max_size=None, open_timeout=None, proxy=None) as socket:
                window = Window(socket)
                await window.begin(*size)
                yield window
                with suppress(FirefoxError, TimeoutError):
                    await asyncio.wait_for(window.call("browser.close"), _END_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if logging is not None:
                logging.cancel()


def _prepare(profile: Path, settings: Mapping[str, bool | int | str]) -> None:
    """Write the profile: its settings, and whom it trusts."""
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in sorted(settings.items())]
    (profile / "user.js").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for file in Path(os.environ.get("HOME", "/"), ".pki", "nssdb").glob("*"):
        shutil.copy(file, profile)


async def _address(stderr: asyncio.StreamReader) -> str:
    """Read what the browser writes until it says where it listens."""
    while line := (await stderr.readline()).decode(errors="replace"):
        print(line, end="", file=sys.stderr)
        if line.startswith(_LISTENS):
            return line.removeprefix(_LISTENS).strip()
    raise FirefoxError("the browser ended")


async def _log(stderr: asyncio.StreamReader) -> None:
    while line := await stderr.readline():
        print(line.decode(errors="replace"), end="", file=sys.stderr, flush=True)


async def look(params: BrowserParams, access: Access, until: float) -> tuple[Shown, str]:
    """Open a page in Firefox; return what is shown and its picture in base 64."""
    path = program()
    if path is None:
        raise Failure("unknown_failure: no Firefox on this machine", "start the browser")
    try:
        async with opened(path, settings_for(params, access), _SIZE) as window:
            return await _visit(window, params.url, until), await window.photograph()
    except FirefoxError as error:
        raise Failure(f"unknown_failure: {error}", "start the browser") from error


def settings_for(params: BrowserParams, access: Access) -> dict[str, bool | int | str]:
    """Return what the profile is told beyond the usual."""
    parts = urlsplit(params.url)
    found: dict[str, bool | int | str] = {
        "network.dns.localDomains": ",".join(name for name in _OWN_BUSINESS if name != parts.hostname),
        "network.http.http3.enable": params.http3, "security.tls.version.max": 3 if params.tls == "1.2" else 4,
    }  # fmt: skip
    if params.http3:
        found["network.http.http3.alt-svc-mapping-for-testing"] = f"{parts.hostname};h3=:{parts.port or 443}"
        found["network.http.http3.disable_when_third_party_roots_found"] = False
    if params.address is not None:
        found["network.dns.forceResolve"] = params.address
    if access.proxy is not None:
        proxy = urlsplit(access.proxy)
        kinds = ("socks",) if proxy.scheme.startswith("socks") else ("http", "ssl")
        found |= {"network.proxy.type": 1, "network.proxy.socks_remote_dns": True, "network.proxy.socks_version": 5}
        for kind in kinds:
            found |= {f"network.proxy.{kind}": proxy.hostname or "", f"network.proxy.{kind}_port": proxy.port or 1080}
    return found


async def _visit(window: Window, url: str, until: float) -> Shown:
    """Go to a page and wait until it has loaded, an error is shown, or the time is up."""
    begun, error = time.monotonic(), ""
    try:
        async with asyncio.timeout(until - begun):
            await window.navigate(url)
    except TimeoutError:
        error = "" if _response(window) else WAITING
    except FirefoxError as refused:
        error = code_in(refused.said)
        if not error:
            raise
    wait_s = time.monotonic() - begun
    seen = {} if error == WAITING else await _seen(window)
    received = sum(said["response"].get("bytesReceived", 0) for said in _responses(window))
    return Shown((error and seen.get("code")) or error, seen, {} if error else _response(window), received, wait_s)


def code_in(said: str) -> str:
    """Return the code in what BiDi says of an error, the last one: its own, or NSS's in brackets behind a sentence."""
    codes = re.findall(r"[A-Z]+_[A-Z_]+", said)
    return codes[-1] if codes else said.rpartition(" ")[2]


async def _seen(window: Window) -> Mapping[str, Any]:
    """Return what stands in the window, which draws an error page some time after it has told of the error."""
    drawn = time.monotonic() + _DRAWN_S
    while True:
        seen: Mapping[str, Any] = await window.evaluate(_SEEN)
        if seen["heading"] or time.monotonic() > drawn:
            return seen
        await asyncio.sleep(0.05)


def _responses(window: Window) -> list[Mapping[str, Any]]:
    return [said for name, said in window.events if name == "network.responseCompleted"]


def _response(window: Window) -> Mapping[str, Any]:
    """Return the answer for the page itself: the first of a navigation that is no redirection."""
    found = (said["response"] for said in _responses(window) if said.get("navigation"))
    return next((response for response in found if not 300 <= response["status"] < 400), {})
