"""The part of a packet that people are shown: where the name stands that a rule matched, in letters or as in DNS."""

from __future__ import annotations

from collections.abc import Iterable

_BEFORE, _SHOWN = 16, 64


def place_of(packet: bytes, words: Iterable[object]) -> int:
    """Return where the first of some words that is a name stands in a packet; 0 where none does."""
    small = packet.lower()
    for value in words:
        if not isinstance(value, str) or "." not in value:
            continue
        name = value.strip("*").lower().encode(errors="replace")
        labels = b"".join(bytes([len(label)]) + label for label in name.split(b".") if len(label) < 64)
        for form in (name, labels):
            if (place := small.find(form)) >= 0:
                return place
    return 0


def excerpt(packet: bytes, words: Iterable[object] = (), most: int = _SHOWN) -> tuple[int, bytes]:
    """Return at most so many bytes of a packet and where they begin: around what matched, or at its beginning."""
    first = max(0, min(place_of(packet, words) - _BEFORE, len(packet) - most))
    return first, packet[first : first + most]
