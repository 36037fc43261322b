"""What apps need from the machine, and what of it is not there: such an app is skipped, never blocked or passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.apps import chromium


def lacks(kind: str, params: Mapping[str, Any]) -> str | None:
    """Return what keeps an app from running here, and the mend; None if nothing does."""
    if kind == "browser" and chromium.program() is None:
        return f"no browser on this machine ({', '.join(chromium.PROGRAMS)}): `apt install chromium`"
    return None
