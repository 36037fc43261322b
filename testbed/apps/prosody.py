"""An unmodified prosody for the app `xmpp`: its configuration, its two accounts, and the friend who answers there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from testbed.apps import xmpp
from testbed.apps.connect import Access, listening

_READY_S = 15.0
_HOME = "127.0.0.1"


def configuration(names: Sequence[str], folder: Path, cert: str, key: str) -> str:
    """Return what prosody is told: servers of some names, with upload of files, that talk to no other server."""
    quoted = json.dumps  # what JSON escapes, Lua reads alike
    lines = [
        f"data_path = {quoted(str(folder))}", f"pidfile = {quoted(str(folder / 'pid'))}",
        "daemonize = false", "run_as_root = true", 'log = { info = "*console" }',
        'interfaces = { "0.0.0.0" }', f"c2s_ports = {{ {xmpp.PORT} }}",
        f"c2s_direct_tls_ports = {{ {xmpp.TLS_PORT} }}", f"https_ports = {{ {xmpp.UPLOAD_PORT} }}", "http_ports = {}",
        'modules_enabled = { "saslauth", "tls", "disco", "roster", "presence", "message", "iq", "ping", "http" }',
        'modules_disabled = { "s2s", "offline" }', 'authentication = "internal_plain"',
        "c2s_require_encryption = true", "https_interfaces = interfaces",
        f"ssl = {{ certificate = {quoted(cert)}; key = {quoted(key)} }}",
        f"https_ssl = {{ certificate = {quoted(cert)}; key = {quoted(key)} }}",
    ]  # fmt: skip
    for name in names:
        upload = f"upload.{name}"
        lines += [
            f"VirtualHost {quoted(name)}", f"Component {quoted(upload)} \"http_file_share\"",
            f"  http_host = {quoted(upload)}",
            f"  http_external_url = {quoted(f'https://{upload}:{xmpp.UPLOAD_PORT}/')}",
        ]  # fmt: skip
    return "\n".join([*lines, ""])


def write_accounts(names: Sequence[str], folder: Path) -> None:
    """Write the user's and the friend's account as prosody's own storage has them."""
    for name in names:
        accounts = folder / _escaped(name) / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        for user in (xmpp.USER, xmpp.FRIEND):
            (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = {json.dumps(xmpp.PASSWORD)} }};\n')


def _escaped(name: str) -> str:
    """Return a name as prosody makes file names (its util.datamanager): all but letters and digits as %xx."""
    return "".join(c if c.isascii() and c.isalnum() else f"%{ord(c):02x}" for c in name)


async def serve(spec: Mapping[str, Any]) -> None:
    """Start prosody and the friends, say that all are there, and go when prosody goes."""
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    write_accounts(spec["names"], folder)
    config = folder / "prosody.cfg.lua"
    config.write_text(configuration(spec["names"], folder, spec["cert"], spec["key"]))
    process = await asyncio.create_subprocess_exec("prosody", "-F", "--config", str(config))
    try:
        async with asyncio.timeout(_READY_S):
            await listening(_HOME, xmpp.PORT)
            friends = [await xmpp.befriend(name, Access(spec["ca"], address=_HOME)) for name in spec["names"]]
        print("ready", flush=True)
        gone: list[asyncio.Future[Any]] = [friend.ended for friend in friends]
        await asyncio.wait([asyncio.ensure_future(process.wait()), *gone], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
