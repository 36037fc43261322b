"""One order on a worker of a Dask cluster: its files put down, its run played, what it left sent back.

Runs in a thread of the worker. A worker has as many threads as its owner thinks; of these no more come up at once than
there are cores, each waits until the machine is calm, and the lag of its time goes with the outcome as it does at home.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import get_worker

from testbed.campaign import parcel
from testbed.campaign.attempt import Attempt
from testbed.campaign.gauge import Gauge
from testbed.campaign.inputs import source_digest
from testbed.campaign.nursery import start_anew
from testbed.campaign.order import Order
from testbed.campaign.outcome import Outcome
from testbed.campaign.pace import Pace

_TICK_S, _CALM_S, _UP_S = 0.1, 60.0, 60.0
_RUNNING = ("executing", "long-running")
_STARTS = threading.BoundedSemaphore(max(1, len(os.sched_getaffinity(0))))


def carry(order: Order, inputs: bytes, source: str, alone: bool) -> tuple[dict[str, Any], bytes]:
    """Carry an order out; return its outcome as plain data and what its run left."""
    worker = get_worker()
    if source != source_digest():
        why = f"the worker {worker.address} has another testbed; install the same version there"
        return Outcome(order.cell, "skipped", (why,), where=worker.address, alone=alone).as_json(), b""
    key = worker.get_current_task()

    def is_wanted() -> bool:
        state = worker.state.tasks.get(key)
        return state is not None and state.state in _RUNNING

    with tempfile.TemporaryDirectory(prefix="testbed-", dir=worker.local_directory) as name, Gauge() as gauge:
        root, folder = Path(name) / "tree", Path(name) / "cell"
        parcel.unpack(inputs, root)
        outcome = _played(order, folder, root, gauge, is_wanted, alone=alone)
        return replace(outcome, where=worker.address).as_json(), parcel.results(folder)


def _played(
    order: Order, folder: Path, root: Path, gauge: Gauge, is_wanted: Callable[[], bool], *, alone: bool
) -> Outcome:
    with _STARTS:
        _await_calm(gauge, is_wanted)
        attempt = Attempt(order, folder, gauge, start_anew, root=root, alone=alone)
        deadline = time.monotonic() + _UP_S
        while attempt.is_starting and time.monotonic() < deadline and is_wanted():
            if (outcome := attempt.poll()) is not None:
                return outcome
            time.sleep(_TICK_S)
    while (outcome := attempt.poll()) is None:
        if not is_wanted():
            attempt.end()
        time.sleep(_TICK_S)
    return outcome


def _await_calm(gauge: Gauge, is_wanted: Callable[[], bool]) -> None:
    """Wait until lag is small, for a while: what is spoilt all the same is repeated alone."""
    pace, deadline = Pace(), time.monotonic() + _CALM_S
    while time.monotonic() < deadline and is_wanted():
        time.sleep(_TICK_S)
        for now, lag in gauge.drain():
            pace.woke(now, lag)
        if pace.is_calm():
            return
