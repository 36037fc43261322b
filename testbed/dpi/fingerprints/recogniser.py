"""What a recogniser is: a function from an opening to evidence, to None (never), or to UNDECIDED (show me more)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from testbed.dpi.fingerprints.opening import TCP, Opening


class Undecided(Enum):
    """The answer of a recogniser that needs more packets."""

    UNDECIDED = "undecided"


UNDECIDED: Final = Undecided.UNDECIDED
Evidence = Mapping[str, Any]
Answer = Evidence | Literal[Undecided.UNDECIDED] | None
Recogniser = Callable[[Opening], Answer]
ANY: Final = (1 << 256) - 1


def starting(*first: int | range | str) -> int:
    """Return the set of first bytes as a bit mask, for `Opening.starts`; text stands for its first letters."""
    mask = 0
    for item in first:
        numbers = (item,) if isinstance(item, int) else item.encode() if isinstance(item, str) else item
        for number in numbers:
            mask |= 1 << number
    return mask


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A protocol: its recogniser, the transports it comes over and the bytes that one of its messages begins with.

    `later` says that its messages may follow others in a datagram flow (WebRTC: STUN first, then DTLS, then RTP), so
    that the flow can't be given up before its opening is full.
    """

    name: str
    recognise: Recogniser
    over: tuple[int, ...]
    starts: int = ANY
    later: bool = False
    kind: str | None = None
    """The protocol that this one is a special case of."""
    stream_starts: int | None = None
    """The first bytes over TCP, where they differ."""

    def may_start(self, proto: int, starts: int) -> bool:
        """Say whether a flow whose messages begin with these bytes may be this protocol."""
        mask = self.starts if self.stream_starts is None or proto != TCP else self.stream_starts
        return bool(mask & starts)
