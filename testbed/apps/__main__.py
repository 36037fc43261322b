"""`python -m testbed.apps run|serve SPEC.json`: one app's client with its schedule, or one of its servers.

The client writes a JSON line for each attempt that ended; an attempt cut off by SIGTERM is not one, and is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.apps.connect import Access
from testbed.apps.outcome import Attempt, Failure, blocking_of, new_progress, word_for
from testbed.scenario.params import PARAMS


async def attempt(spec: Mapping[str, Any]) -> Attempt:
    """Make one attempt of the app that a specification describes."""
    kind, access = spec["app"], Access(spec["ca"], spec["proxy"])
    params: Any = PARAMS[kind].model_validate(spec["params"])
    if kind in ("messenger", "call"):
        from testbed.apps import call, messenger
        from testbed.apps.profiles import load_profile

        profile = load_profile(spec["profile"])
        return await (messenger.send(profile, params, access) if kind == "messenger" else call.talk(profile, params))
    if kind == "xmpp":
        from testbed.apps import xmpp

        return await xmpp.send(params, access)
    if kind == "webrtc":
        from testbed.apps import webrtc

        return await webrtc.talk(params, access)
    if kind == "dns":
        from testbed.apps import dns

        return await dns.ask(params, spec["timeout_s"])
    if kind == "command":
        from testbed.apps import command

        return await command.run(params, access.proxy, spec["wrapper"])
    if kind == "browser":
        from testbed.apps import browser

        return await browser.look(params, access, spec["timeout_s"], _picture(spec))
    from testbed.apps import web

    if kind == "web":
        return await web.page(params, access)
    return await (web.download(params, access) if kind == "download" else web.video(params, access))


def _picture(spec: Mapping[str, Any]) -> Path:
    """Return where an app's next screenshot goes; they are numbered."""
    folder = Path(spec["screenshots"])
    folder.mkdir(exist_ok=True)
    names = (f"{spec['name']}-{number}.png" for number in itertools.count(1))
    return next(folder / name for name in names if not (folder / name).exists())


async def result_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Make one attempt and return its result line."""
    begun = time.monotonic()
    progress, operation = new_progress(), None
    try:
        done = await asyncio.wait_for(attempt(spec), spec["timeout_s"])
    except (Failure, OSError, EOFError, TimeoutError) as error:
        operation = error.operation if isinstance(error, Failure) else progress.operation
        done = Attempt({}, failure=word_for(error), blocking=blocking_of(operation))
    return {
        "app": spec["app"], "name": spec["name"], "node": spec["node"], "t": round(begun - spec["t0"], 4),
        "duration_s": round(time.monotonic() - begun, 4), "failure": done.failure, "operation": operation,
        "blocking": done.blocking, "verdict": done.verdict, "kpis": dict(done.kpis), **done.detail,
    }  # fmt: skip


async def run(spec: Mapping[str, Any]) -> None:
    """Attempt as scheduled until the count is reached or SIGTERM comes."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    number = 0
    with Path(spec["out"]).open("a", encoding="utf-8") as out, contextlib.suppress(asyncio.CancelledError):
        while spec["count"] is None or number < spec["count"]:
            due = spec["t0"] + spec["start_s"] + number * (spec["every_s"] or 0.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            out.write(json.dumps(await result_of(spec), sort_keys=True) + "\n")
            out.flush()
            number += 1
            if spec["every_s"] is None:
                return


async def serve(spec: Mapping[str, Any]) -> None:
    """Serve until SIGTERM, or until a server of others' making has ended."""
    if spec["kind"] == "xmpp":
        from testbed.apps import prosody

        await prosody.serve(spec)
        return
    if spec["kind"] == "webrtc":
        from testbed.apps import coturn

        await coturn.serve(spec)
        return
    from testbed.apps import call, messenger

    if spec["kind"] == "relay":
        for port in spec["ports"]:
            await asyncio.get_running_loop().create_datagram_endpoint(call.Relay, local_addr=("0.0.0.0", port))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(spec["cert"], spec["key"])
        for entry in spec["ports"]:
            await messenger.serve(entry["port"], bytes.fromhex(entry["preamble"]), context)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    told = Path(sys.argv[2])
    document = {"folder": str(told.with_suffix("")), **json.loads(told.read_text(encoding="utf-8"))}
    asyncio.run(run(document) if sys.argv[1] == "run" else serve(document))
