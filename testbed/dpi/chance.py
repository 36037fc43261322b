"""Chance without a generator: every draw is a hash of the seed and of what it is for.

So a draw depends on nothing that happened before it, and a live run and its replay draw alike.
"""

from __future__ import annotations

import hashlib


class Chance:
    """Draws from one seed."""

    def __init__(self, seed: int) -> None:
        self._prefix = f"{seed}|".encode()

    def share(self, purpose: str, *about: bytes) -> float:
        """Return a number in [0, 1) for a purpose and what it is about."""
        text = self._prefix + purpose.encode() + b"".join(b"|" + part for part in about)
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / 2.0**56
