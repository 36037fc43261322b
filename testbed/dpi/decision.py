"""What the censor says about a packet. Immutable, so that a live run and its replay can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Side(Enum):
    """Where a packet came from, or where one goes."""

    INSIDE = "inside"
    OUTSIDE = "outside"

    @property
    def other(self) -> Side:
        """The opposite side."""
        return Side.OUTSIDE if self is Side.INSIDE else Side.INSIDE


class Verdict(Enum):
    """What becomes of the packet itself. THROTTLE is a DROP or a DELAY for exceeding a bucket, told apart in notes."""

    PASS = "pass"
    DROP = "drop"
    DELAY = "delay"
    THROTTLE = "throttle"


class Offload(Enum):
    """May the rest of the packet's flow skip the engine?"""

    NONE = "none"
    PASS = "pass"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Injection:
    """A packet of the censor's own: raw IP bytes, the side it goes to, seconds to wait first."""

    raw: bytes
    toward: Side
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Probe:
    """A connection that the censor wants made to a suspect server (active probing), and what to send on it.

    The adapter makes it from the outside and reports with `Engine.probed`; offline nobody does.
    """

    rule: str
    address: bytes
    port: int
    sends: str
    payload: bytes
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Note:
    """Why something happened: the rule, the flow, the reason, and the evidence (which bytes matched)."""

    rule: str
    flow: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"rule": self.rule, "flow": self.flow, "reason": self.reason, "evidence": dict(self.evidence)}


@dataclass(frozen=True, slots=True)
class Decision:
    """The whole answer. `until`: when a DELAY ends; `bucket`: which THROTTLE bucket held it."""

    verdict: Verdict = Verdict.PASS
    until: float | None = None
    bucket: str | None = None
    injections: tuple[Injection, ...] = ()
    notes: tuple[Note, ...] = ()
    offload: Offload = Offload.NONE
    probes: tuple[Probe, ...] = ()
    intercept: str | None = None
    """The rule that wants this TLS connection opened; the adapter redirects it."""


PASSED = Decision()
