"""The live page's routes. What is shown comes from the `Hub`; what is done goes to `Steering` and `Runs`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from testbed.dashboard import frames
from testbed.dashboard.catalogue import Catalogue
from testbed.dashboard.guard import Guard
from testbed.dashboard.hub import Hub
from testbed.dashboard.runs import Runs
from testbed.dashboard.steer import Steering
from testbed.dashboard.watch import as_it_was
from testbed.errors import InputError, Problem
from testbed.run.directory import RunDirectory

STATIC = Path(__file__).parent / "static"
_LARGEST_REQUEST_BYTES = 10_000
_LOOK_EVERY_S = 0.1
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_RUN_FILES = {
    "report.html", "scenario.yaml", "events.jsonl", "link.jsonl", "roundtrips.jsonl", "fidelity.json", "junit.xml",
}  # fmt: skip
Act = Callable[[Steering, Mapping[str, Any]], None]

#: What a request may ask to have done to the run that is shown
ACTS: dict[str, Act] = {
    "policy": lambda hand, r: hand.policy(str(r["box"]), str(r["policy"])),
    "rule": lambda hand, r: hand.rule(str(r["box"]), str(r["rule"]), bool(r["enabled"])),
    "block": lambda hand, r: hand.block(str(r["box"]), str(r["name"]), bool(r["blocked"])),
    "rate": lambda hand, r: hand.rate(float(r["rate_bps"])),
    "cut": lambda hand, r: hand.cut(bool(r["down"])),
    "timeline": lambda hand, r: hand.timeline(str(r["do"])),
}


class Dashboard:
    """One page: the hub, the runs it starts, the hand on the run that is shown."""

    def __init__(self, runs: Runs, first: RunDirectory | str | None) -> None:
        self.hub, self.runs, self._catalogue = Hub(), runs, Catalogue(runs)
        self._first = first
        self._steering: Steering | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    def app(self, token: str) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/", self._page),
            Route("/api/stream", self._stream),
            Route("/api/catalogue", self._listed),
            Route("/api/frame/{box}/{key}", self._frame),
            Route("/api/at", self._at),
            Route("/api/start", self._start, methods=["POST"]),
            Route("/api/stop", self._stop, methods=["POST"]),
            Route("/api/do/{act}", self._do, methods=["POST"]),
            Route("/run/{name}", self._run_file),
            Route("/run/pcap/{name}", self._capture),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]
        guard = Middleware(Guard, token=token)
        handlers = {InputError: _bad_input, OSError: _gone}
        return Starlette(routes=routes, middleware=[guard], lifespan=self._lifespan, exception_handlers=handlers)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self.hub.watch())
        if isinstance(self._first, RunDirectory):
            self._show(self._first)
        elif self._first is not None:
            await self._begin(self._first)
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await self.runs.stop()

    def _show(self, directory: RunDirectory) -> None:
        self._steering = Steering(directory)
        self.hub.show(directory)

    async def _begin(self, scenario: str) -> None:
        directory = await self.runs.start(scenario)
        self._show(directory)
        self._keep(asyncio.create_task(self._mind(directory)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task until it is done: the loop itself does not."""
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _mind(self, directory: RunDirectory) -> None:
        status = await self.runs.ended()
        log = directory.path.parent / f"{directory.path.name}.log"
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:] if log.exists() else []
        self.hub.ended(directory, f"the run ended with status {status}: {' '.join(said)}")

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def _stream(self, request: Request) -> Response:
        return StreamingResponse(
            self.hub.stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def _at(self, request: Request) -> Response:
        directory = self._directory()
        if not directory.result.exists():
            raise HTTPException(409, "one can look back when the run is over")
        try:
            t = float(request.query_params["t"])
        except (KeyError, ValueError):
            raise HTTPException(400, "say when: t, in seconds from the start") from None
        view = await asyncio.to_thread(as_it_was, directory, t)
        if view is None:
            raise HTTPException(404, "this run has no plan: it was made by an earlier version")
        return JSONResponse(view.snapshot())

    async def _listed(self, request: Request) -> Response:
        return Response(await asyncio.to_thread(self._catalogue.read), media_type="application/json")

    async def _start(self, request: Request) -> Response:
        asked = await _asked(request)
        await self._begin(str(asked.get("scenario", "")))
        return JSONResponse({"ok": True})

    async def _stop(self, request: Request) -> Response:
        if self.runs.going:
            stopping = asyncio.create_task(self.runs.stop())
            self._keep(stopping)
            while self.runs.going:  # until there is a result: its processes may take some seconds more to go
                self.hub.look_soon()
                await asyncio.wait({stopping}, timeout=_LOOK_EVERY_S)
        else:
            await asyncio.to_thread(self._hand().timeline, "stop")
        self.hub.look_soon()
        return JSONResponse({"ok": True})

    async def _do(self, request: Request) -> Response:
        act = ACTS.get(request.path_params["act"])
        if act is None:
            raise HTTPException(404, "no such act")
        asked, hand = await _asked(request), self._hand()
        try:
            await asyncio.to_thread(act, hand, asked)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                [Problem(request.path_params["act"], f"not understood: {error}", "see the page")]
            ) from None
        self.hub.look_soon()
        return JSONResponse({"ok": True})

    def _hand(self) -> Steering:
        if self._steering is None:
            raise InputError([Problem("run", "there is none", "start a scenario")])
        return self._steering

    async def _frame(self, request: Request) -> Response:
        directory, box = self._directory(), request.path_params["box"]
        if box not in self._box_names(directory):
            raise HTTPException(404, "no such box")
        found = await asyncio.to_thread(frames.find, directory, box, request.path_params["key"])
        if found is None:
            raise HTTPException(404, "the frame is in no capture: the run keeps none, or the censor forged it later")
        try:
            evidence = json.loads(request.query_params.get("evidence", "{}"))
        except (ValueError, RecursionError):
            evidence = {}
        raw = found.pop("raw")
        shown = await asyncio.to_thread(frames.explain, raw, evidence if isinstance(evidence, dict) else {})
        return JSONResponse({**found, **shown})

    async def _run_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = self._directory().path / name
        if name not in _RUN_FILES or not path.is_file():
            raise HTTPException(404, "not there yet: it is written when the run ends")
        headers = {"content-security-policy": _REPORT_POLICY} if name == "report.html" else {}
        return FileResponse(path, headers=headers)

    async def _capture(self, request: Request) -> Response:
        name = request.path_params["name"]
        names = {path.name: path for path in (self._directory().path / "pcap").glob("*.pcapng")}
        if name not in names:
            raise HTTPException(404, "not there yet: captures are finished when the run ends")
        return FileResponse(names[name], filename=name, media_type="application/x-pcapng")

    def _directory(self) -> RunDirectory:
        if self.hub.directory is None:
            raise HTTPException(404, "no run is shown")
        return self.hub.directory

    @staticmethod
    def _box_names(directory: RunDirectory) -> list[str]:
        plan = json.loads(directory.plan.read_text(encoding="utf-8")) if directory.plan.exists() else {"nodes": []}
        return [node["name"] for node in plan["nodes"] if node["kind"] == "box"]


async def _asked(request: Request) -> dict[str, Any]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_REQUEST_BYTES:
            raise HTTPException(413, "too long")
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise HTTPException(400, "a request is a JSON object")
    return asked


async def _bad_input(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _gone(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the run doesn't answer: it is over, or not up yet"}, 409)
