"""What stands in a browser's window in the end, whichever browser it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands in the window in the end."""

    error: str
    """The code of the browser's own error page; empty if there is a page, `waiting` if there is nothing yet."""
    seen: Mapping[str, Any]
    """The page's title and heading, and its times in ms; empty while it is awaited."""
    response: Mapping[str, Any]
    """What the server answered for the page itself: status, protocol, address; empty if it never did."""
    received_bytes: float
    wait_s: float
