"""What apps need from the machine, and what of it is not there: such an app is skipped, never blocked or passed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from testbed.apps import chromium

_PROGRAMS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "xmpp": (("prosody", "prosody"),), "webrtc": (("turnserver", "coturn"),),
}  # fmt: skip
_BROWSERS = {"chromium": chromium.PROGRAMS, "firefox": ("firefox-esr", "firefox")}
_MODULES: Mapping[str, tuple[str, ...]] = {"xmpp": ("slixmpp",), "webrtc": ("aiortc",), "firefox": ("websockets",)}


def lacks(kind: str, params: Mapping[str, Any]) -> str | None:
    """Return what keeps an app from running here, and the mend; None if nothing does."""
    if kind == "browser":
        kind = str(params.get("browser", "chromium"))
        names = _BROWSERS[kind]
        if not any(shutil.which(name) for name in names):
            return f"no browser on this machine ({', '.join(names)}): `apt install {names[0]}`"
    for program, package in _PROGRAMS.get(kind, ()):
        if shutil.which(program) is None:
            return f"no program {program} on this machine: `apt install {package}`"
    for module in _MODULES.get(kind, ()):
        if find_spec(module) is None:
            return f"no Python package {module} here: `pip install 'turkmenistan-testbed[apps]'`"
    return None
