"""An unmodified Chromium, told what to do over two pipes (`--remote-debugging-pipe`): no port opens in the host.

The DevTools protocol is JSON with a NUL behind each message. Chromium reads file descriptor 3 and writes 4; a line of
shell lays its standard input and output there, so that what Chromium itself has to say goes to the app's log. It ends
when the pipe closes, so none outlives its app.

The browser's own sandbox is off: it does not work for the root of a user namespace, which every host's programs are,
and here it guards nothing, since all pages are the run's own and the run's namespaces have no way out.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "google-chrome-stable", "google-chrome")
_PIPE = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >&2'
_LARGEST_MESSAGE_BYTES = 64 << 20  # a screenshot comes as one message
_END_S = 3.0
_FLAGS = (
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check",
    "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US",
    # what a browser says on its own would stand among the censor's decisions
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-domain-reliability", "--disable-extensions", "--disable-sync", "--no-pings",
    "--disable-component-extensions-with-background-pages",
    "--metrics-recording-only", "--disable-breakpad", "--password-store=basic", "--use-mock-keychain",
    # `http://` stays what the scenario says; by default Chromium would try `https://` first
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,OptimizationHints,MediaRouter,Translate",
)  # fmt: skip


def program() -> str | None:
    """Return the browser's path on this machine, None if there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser ended, or refused a command."""


class Page:
    """One page of a browser: commands with their answers, and the events that came since it was opened."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self._reader, self._writer = reader, writer
        self._session: str | None = None
        self._answers: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._news = asyncio.Event()
        self._last = 0
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Sort what the browser says until it ends; then whoever waits learns of it."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                waiting = self._answers.pop(message.get("id", 0), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
                elif "method" in message:
                    self.events.append((message["method"], message.get("params", {})))
                self._news.set()
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(BrowserError("the browser ended"))
        self._news.set()

    async def call(self, method: str, **params: Any) -> Mapping[str, Any]:
        """Send a command and return its result."""
        if self._listening.done():
            raise BrowserError("the browser ended")
        self._last += 1
        waiting: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._last] = waiting
        command: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        self._writer.write(json.dumps(command).encode() + b"\0")
        answer = await waiting
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        return dict(answer["result"])

    async def attach(self) -> None:
        """Take the page that the browser opened at its start."""
        while True:
            targets = (await self.call("Target.getTargets"))["targetInfos"]
            pages = [target["targetId"] for target in targets if target["type"] == "page"]
            if pages:
                break
            await asyncio.sleep(0.02)
        attached = await self.call("Target.attachToTarget", targetId=pages[0], flatten=True)
        self._session = attached["sessionId"]

    async def event(self, method: str, **wanted: Any) -> Mapping[str, Any]:
        """Wait for an event that says what is wanted, and return all it says; one that came already counts."""
        while True:
            self._news.clear()
            for name, said in self.events:
                if name == method and all(said.get(key) == value for key, value in wanted.items()):
                    return said
            if self._listening.done():
                raise BrowserError("the browser ended")
            await self._news.wait()

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(answer["exceptionDetails"].get("text", "a script failed"))
        return answer["result"].get("value")

    def close(self) -> None:
        """Stop listening; the closed pipe ends the browser."""
        self._listening.cancel()
        self._writer.close()


@asynccontextmanager
async def opened(path: str, flags: Sequence[str] = ()) -> AsyncIterator[Page]:
    """Start a browser with a fresh profile and yield its page; afterwards the browser and its profile are gone."""
    with tempfile.TemporaryDirectory(prefix="testbed-browser-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", _PIPE, path, *_FLAGS, f"--user-data-dir={profile}", *flags, "about:blank",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LARGEST_MESSAGE_BYTES,
            process_group=0, env=_environment(Path(profile)),
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        page = Page(process.stdout, process.stdin)
        try:
            await page.attach()
            yield page
        finally:
            page.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END_S)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _environment(profile: Path) -> dict[str, str]:
    """Return the environment: caches in the profile, no message bus of the machine's, the language of the texts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBUS_", "LC_"))}
    own = {name: str(profile / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    return {**kept, **own, "LANG": "C.UTF-8", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/dev/null"}
