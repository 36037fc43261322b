"""Counters in headers. A network shuffles datagrams now and then, and delivers some twice; their numbers tell."""

from __future__ import annotations

from collections.abc import Iterable


def in_order(numbers: Iterable[int], bits: int) -> list[int]:
    """Return the distinct numbers in the order in which they were counted, told from the first one; they may wrap.

    They come back unwrapped: as distances from the first.
    """
    found = list(dict.fromkeys(numbers))
    half = 1 << (bits - 1)
    return sorted(((number - found[0] + half) % (2 * half)) - half for number in found) if found else []
