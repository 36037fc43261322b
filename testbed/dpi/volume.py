"""Bytes over the border by outside address, and the bans they lead to (facts/turkmenistan.md §2, 2025)."""

from __future__ import annotations

from typing import Any

from testbed.dpi.chance import Chance
from testbed.dpi.match import Volume
from testbed.dpi.sight import Sight
from testbed.wire.ip import address_text

_DAY_S = 86400.0


class Volumes:
    """Counts every packet the censor sees; bounded, the address that was counted first goes first."""

    def __init__(self, chance: Chance, most: int = 1_000_000) -> None:
        self._chance, self._most = chance, most
        self._bytes: dict[tuple[bytes, int], int] = {}
        self._over: dict[tuple[bytes, int], float] = {}
        """Address and day (-1: ever) → when it went over its limit."""

    def count(self, sight: Sight) -> None:
        """Add a packet to its outside address, for its day and for ever."""
        address = sight.dst if sight.from_inside else sight.src
        for day in (int(sight.now // _DAY_S), -1):
            key = (address, day)
            total = self._bytes.get(key)
            if total is None and len(self._bytes) >= self._most:
                del self._bytes[next(iter(self._bytes))]
            self._bytes[key] = (total or 0) + sight.total_len

    def exceeded(self, sight: Sight, volume: Volume) -> dict[str, Any] | None:
        """Return the evidence if a packet's outside address is over its limit and the verdict is in force."""
        address = sight.dst if sight.from_inside else sight.src
        days = (-1,) if volume.window == "ever" else (int(sight.now // _DAY_S), int(sight.now // _DAY_S) - 1)
        limit = float(volume.over)
        if volume.up_to is not None:
            limit += (volume.up_to - volume.over) * self._chance.share("volume", address)
        for day in days:
            key = (address, day)
            total = self._bytes.get(key, 0)
            if total <= limit:
                continue
            since = self._over.setdefault(key, sight.now)
            if sight.now >= _in_force(since, volume):
                return {"address": address_text(address), "bytes": total, "limit": round(limit)}
        return None


def _in_force(since: float, volume: Volume) -> float:
    """Return when a verdict reached at `since` takes effect: at once, or at the next batch."""
    if not volume.batches:
        return since
    midnight = since - since % _DAY_S
    return min(start for at in volume.batches for start in (midnight + at, midnight + _DAY_S + at) if start >= since)
