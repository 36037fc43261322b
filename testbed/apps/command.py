"""`command`: any unmodified program; its exit status is the outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from testbed.apps.outcome import Attempt


async def run(params: Mapping[str, Any]) -> Attempt:
    """Run `argv` to its end; a status other than 0 means blocked. Cancelling ends the program."""
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(*[str(word) for word in params["argv"]])
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.kill()
        raise
    kpis = {"status": status, "total_s": time.monotonic() - begun}
    return Attempt(kpis, failure=f"exit_status_{status}" if status else None)
