"""A crew on a Dask cluster: orders go to its scheduler, outcomes come back as they end, by its connections alone.

The scheduler gives a lost worker's orders to another one. Ctrl-C cancels: what runs on the workers ends within moments.
"""

from __future__ import annotations

import queue
import time
import uuid
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed.campaign import parcel
from testbed.campaign.inputs import source_digest
from testbed.campaign.order import Order
from testbed.campaign.outcome import Outcome
from testbed.campaign.pace import Lag
from testbed.errors import MachineError

try:
    from distributed import Client
    from distributed.scheduler import KilledWorker
except ImportError:
    raise MachineError("Dask is not installed", "pip install 'turkmenistan-testbed[cluster]'") from None

from testbed.campaign.worker import carry

_ANSWER_S, _WAIT_S = 10.0, 0.2


class ClusterCrew:
    """The workers of a cluster. A context manager."""

    def __init__(self, address: str, cells: Path) -> None:
        self._address, self._cells = address, cells
        self._done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._alone: set[str] = set()
        self._run = uuid.uuid4().hex[:8]
        self._inputs = cache(parcel.inputs)

    def __enter__(self) -> ClusterCrew:
        mend = "check the address that `dask scheduler` printed, as tcp://192.0.2.1:8786"
        try:
            self._client = Client(self._address, timeout=_ANSWER_S, set_as_default=False, name="testbed-matrix")
        except (OSError, ValueError) as error:
            raise MachineError(f"no scheduler answers at {self._address}: {error}", mend) from None
        if not self._client.scheduler_info()["workers"]:
            self._client.close()
            raise MachineError(f"the scheduler {self._address} has no worker", f"`dask worker {self._address}`")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()
        self._client.close()

    @property
    def busy(self) -> int:
        """How many orders the cluster has."""
        return len(self._futures)

    @property
    def state(self) -> str:
        """How many workers there are."""
        return f"{len(self._client.scheduler_info()['workers'])} workers"

    def has_room(self) -> bool:
        """Say yes: the scheduler keeps what no worker is free for."""
        return True

    def start(self, order: Order, *, alone: bool) -> None:
        """Give an order to the scheduler."""
        future = self._client.submit(
            carry, order, self._inputs(order.files), source_digest(), alone,
            key=f"{order.cell}-{self._run}{'-alone' if alone else ''}", pure=False,
        )  # fmt: skip
        self._futures[order.cell] = future
        self._alone |= {order.cell} if alone else set()
        future.add_done_callback(lambda done: self._done.put((order.cell, done)))

    def ended(self) -> list[Outcome]:
        """Return what came back, each run's files put into the caller's folder."""
        found: list[Outcome] = []
        deadline = time.monotonic() + _WAIT_S
        while self._futures:
            try:
                cell, future = self._done.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if self._futures.get(cell) is future:
                del self._futures[cell]
                found.append(self._received(cell, future))
        return found

    def _received(self, cell: str, future: Any) -> Outcome:
        try:
            data, left = future.result(timeout=_ANSWER_S)
        except KilledWorker as error:
            return Outcome(cell, "error", (f"its workers were lost, one after the other: {error}",))
        except Exception as error:  # whatever a worker raises is told with its cell
            return Outcome(cell, "error", (f"on the cluster: {error!r}",), alone=cell in self._alone)
        folder = self._cells / cell
        if left:
            parcel.unpack(left, folder)
        return Outcome(**{**data, "why": tuple(data["why"]), "lag": Lag(**data["lag"])})

    def cancel(self) -> None:
        """Take back what the cluster has; its workers end it by themselves."""
        if self._futures:
            self._client.cancel(list(self._futures.values()), reason="the matrix was cancelled")
            self._futures.clear()
