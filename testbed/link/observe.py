"""What a link did, from captures of its two ports: which packets crossed, when, and when they should have.

For a link that the kernel carries, which keeps no log of its own. A packet shows at both ports if it crossed, first at
the one it came in by; at one port only if it was dropped. It is known again by its first bytes, which a bridge doesn't
change. The ideal departure is the model's, for the packets that were not dropped. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from testbed.link.fidelity import Departure
from testbed.link.model import LinkModel
from testbed.link.spec import DirectionSpec, Queue

_LARGEST_IP_BYTES = 1500
_NEIGHBOUR_TALK = range(133, 138)


class Frame(NamedTuple):
    """A captured packet: when, its first bytes without the Ethernet header, its length on the wire."""

    when: float
    head: bytes
    size: int


class Crossing(NamedTuple):
    """A packet of one direction (0 up, 1 down): IP bytes, when it came, when it left (None: it was dropped)."""

    direction: int
    size: int
    entered: float
    left: float | None


def crossings(inside: Sequence[Frame], outside: Sequence[Frame]) -> list[Crossing]:
    """Pair what two ports saw, in the order the packets came; ARP and neighbour discovery don't count."""
    events = sorted(
        (frame.when, port, frame) for port, frames in enumerate((inside, outside)) for frame in frames if _counts(frame)
    )
    waiting: tuple[dict[bytes, deque[int]], ...] = ({}, {})
    found: list[Crossing] = []
    for when, port, frame in events:
        earlier = waiting[1 - port].get(frame.head)
        if earlier:
            index = earlier.popleft()
            found[index] = found[index]._replace(left=when)
        else:
            waiting[port].setdefault(frame.head, deque()).append(len(found))
            found.append(Crossing(port, frame.size, when, None))
    return found


def _counts(frame: Frame) -> bool:
    head = frame.head
    if len(head) >= 20 and head[0] >> 4 == 4:
        return True
    if len(head) < 40 or head[0] >> 4 != 6 or head[24:26] == b"\xff\x02":
        return False
    return not (len(head) > 40 and head[6] == 58 and head[40] in _NEIGHBOUR_TALK)


def departures(crossed: Sequence[Crossing], side: DirectionSpec) -> list[Departure]:
    """Return ideal against actual for the packets of one direction that were not dropped.

    With jitter the latest moment that was asked counts as the ideal one.
    """
    faultless = {"loss": 0.0, "bursts": None, "duplicate": 0.0, "jitter": 0.0, "delay": side.delay + side.jitter}
    endless = Queue.model_construct(size=1 << 50)
    link: LinkModel[Crossing] = LinkModel(side.model_copy(update={**faultless, "queue": endless}), seed=0)
    found: list[Departure] = []
    for crossing in crossed:
        if crossing.left is None:
            continue
        found += _arrived(link, crossing.entered)
        link.enqueue(crossing.size, crossing, crossing.entered)
    return found + _arrived(link, float("inf"))


def _arrived(link: LinkModel[Crossing], now: float) -> list[Departure]:
    return [
        Departure(c.direction, c.size, c.entered, due, c.left) for due, c in link.due(now) if c.left is not None
    ]  # fmt: skip


def counters(crossed: Sequence[Crossing], side: DirectionSpec, overflowed: int) -> dict[str, Any]:
    """Return what was lost against what was asked; `overflowed`: how many the shaper says its queue dropped.

    Packets that came shortly before the captures ended may be on their way still: they don't count.
    """
    longest_s = side.delay + side.jitter + 0.5
    if side.rate is not None:
        longest_s += side.queue.limit_bytes(side.rate) * 8 / side.rate
    end = max((crossing.left or crossing.entered for crossing in crossed), default=0.0) - longest_s
    settled = [crossing for crossing in crossed if crossing.left is not None or crossing.entered < end]
    gone = sum(crossing.left is None for crossing in settled)
    loss, variance = side.loss, side.loss * (1 - side.loss)
    if side.bursts is not None:
        loss, variance = side.bursts.mean, side.bursts.variance
    passed = len(settled) - min(gone, overflowed)
    return {
        "entered": len(settled), "overflowed": min(gone, overflowed), "lost": gone - min(gone, overflowed),
        "lost_expected": passed * loss, "lost_variance": passed * variance,
    }  # fmt: skip


def oversize(*captures: Sequence[Frame]) -> int:
    """Return how many frames were larger than the MTU."""
    return sum(frame.size > _LARGEST_IP_BYTES for frames in captures for frame in frames)
