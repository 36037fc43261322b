"""Orders and outcomes for tests that run nothing."""

from __future__ import annotations

from typing import Any

from testbed.campaign.order import Order
from testbed.campaign.outcome import Outcome
from testbed.campaign.pace import Lag


def order(cell: str, kind: str = "tool", **changed: Any) -> Order:
    values: dict[str, Any] = {
        "cell": cell, "kind": kind, "scenario": None, "recipe": None, "words": (), "users": (), "timeout_s": 60.0,
        "files": (),
    }  # fmt: skip
    return Order(**{**values, **changed})


def outcome(cell: str, word: str = "ok", *, alone: bool = False, late: int = 0) -> Outcome:
    return Outcome(cell, word, alone=alone, lag=Lag(wakings=100, late=late))
