"""An unmodified coturn for the app `webrtc`, and the friend who takes the call beside it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.apps import webrtc
from testbed.apps.connect import listening

_READY_S = 15.0


def command(address: str, ports: Sequence[int], folder: Path, cert: str, key: str) -> list[str]:
    """Return what starts a relay on some ports, each for UDP, TCP and TLS alike: coturn tells them apart itself."""
    first, *others = ports
    return [
        "turnserver", "-n", "-L", address, "-E", address, "-p", str(first),
        *(word for port in others for word in ("--aux-server", f"{address}:{port}")),
        "--lt-cred-mech", "-u", f"{webrtc.USER}:{webrtc.PASSWORD}", "-r", webrtc.REALM, "--cert", cert, "--pkey", key,
        "--no-cli", "--no-dtls", "--no-rfc5780", "--no-multicast-peers", "--relay-threads", "1",
        "--db", str(folder / "turndb"), "--pidfile", str(folder / "pid"), "--log-file", "stdout", "--simple-log",
    ]  # fmt: skip


async def serve(spec: Mapping[str, Any]) -> None:
    """Start coturn and the friend, say that both are there, and go when coturn goes."""
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(spec["cert"], spec["key"])
    friend = webrtc.Friend()
    await asyncio.start_server(friend.serve_one, "0.0.0.0", webrtc.SIGNAL_PORT, ssl=context)
    argv = command(spec["address"], spec["ports"], folder, spec["cert"], spec["key"])
    process = await asyncio.create_subprocess_exec(*argv, stdout=None)
    try:
        async with asyncio.timeout(_READY_S):
            for port in spec["ports"]:
                await listening(spec["address"], port)
        print("ready", flush=True)
        await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
