"""What lasts: once a rule has acted so, every later packet of the flow meets the same fate without asking rules again.

A fate is state and lives in its flow. `treat` takes a packet and says what becomes of it, None for nothing special.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from testbed.dpi import craft
from testbed.dpi.action import Freeze, Impair, Throttle
from testbed.dpi.chance import Chance
from testbed.dpi.decision import Decision, Injection, Offload, Side, Verdict
from testbed.dpi.sight import Sight
from testbed.wire import ip

FORGOTTEN = Decision(Verdict.DROP, offload=Offload.DROP)
DROPPED = Decision(Verdict.DROP)


class Fate(Protocol):
    """How a flow is treated from now on."""

    rule: str

    def treat(self, sight: Sight) -> Decision | None:
        """Say what becomes of a packet."""


@dataclass(slots=True)
class Silence:
    """All packets are dropped, or those of one end."""

    rule: str
    sender: str = "both"

    def treat(self, sight: Sight) -> Decision | None:
        """Drop."""
        if self.sender == "both":
            return FORGOTTEN if sight.proto == ip.TCP else DROPPED
        return DROPPED if (self.sender == "client") is sight.from_client else None


@dataclass(slots=True)
class Bucket:
    """A token bucket kept as a debt in bytes that drains at the rate."""

    level: float = 0.0
    at: float = 0.0
    spec: Throttle | None = None
    """What its level was counted under."""

    def take(self, spec: Throttle) -> None:
        """Go on under another ceiling: what waits already leaves when it was told to, and is not waited for twice."""
        old, self.spec = self.spec, spec
        if old is not None:
            waiting = max(0.0, self.level - old.burst)
            self.level = min(self.level - waiting, spec.burst) + waiting * spec.rate / old.rate


@dataclass(slots=True)
class Slow:
    """A ceiling: what exceeds it is dropped or waits. The bucket may be shared with other flows."""

    rule: str
    spec: Throttle
    bucket: Bucket

    def treat(self, sight: Sight) -> Decision | None:
        """Take the packet's bytes from the bucket."""
        rate, bucket, size = self.spec.rate / 8, self.bucket, sight.total_len
        if bucket.spec is not self.spec:
            bucket.take(self.spec)
        level = max(0.0, bucket.level - (sight.now - bucket.at) * rate)
        bucket.at = max(bucket.at, sight.now)
        if level + size <= self.spec.burst:
            bucket.level = level + size
            return None
        if self.spec.mode == "police":
            bucket.level = level
            return Decision(Verdict.THROTTLE, bucket=self.rule)
        bucket.level = level + size
        wait_s = (bucket.level - self.spec.burst) / rate
        return Decision(Verdict.DELAY, until=sight.now + wait_s, bucket=self.rule)


@dataclass(slots=True)
class Frozen:
    """A number of payload bytes or of data packets passes, then one end falls silent for good."""

    rule: str
    spec: Freeze
    limit: float = 0.0
    bytes: int = 0
    packets: int = 0

    def treat(self, sight: Sight) -> Decision | None:
        """Count, and drop once the count is full."""
        spec = self.spec
        if spec.sender != "both" and (spec.sender == "client") is not sight.from_client:
            return None
        if self.bytes >= self.limit if spec.after_bytes is not None else self.packets >= (spec.after_packets or 0):
            return DROPPED
        if sight.payload:
            self.bytes += len(sight.payload)
            self.packets += 1
        return None


@dataclass(slots=True)
class Impaired:
    """Packets are lost, held back or damaged by chance."""

    rule: str
    spec: Impair
    chance: Chance
    count: int = field(default=0)

    def treat(self, sight: Sight) -> Decision | None:
        """Draw the packet's lot."""
        self.count += 1
        spec = self.spec
        if spec.loss and self._draw("loss", sight) < spec.loss:
            return DROPPED
        if spec.corrupt and sight.payload and self._draw("corrupt", sight) < spec.corrupt:
            toward = Side.OUTSIDE if sight.from_inside else Side.INSIDE
            at = int(self._draw("byte", sight) * len(sight.payload))
            return Decision(Verdict.DROP, injections=(Injection(craft.corrupted(sight, at), toward),))
        if spec.delay or spec.spread:
            return Decision(Verdict.DELAY, until=sight.now + spec.delay + spec.spread * self._draw("delay", sight))
        return None

    def _draw(self, purpose: str, sight: Sight) -> float:
        return self.chance.share(f"{purpose} {self.rule}", sight.key, self.count.to_bytes(8, "big"))
