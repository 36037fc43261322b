"""Traffic that looks fully encrypted: the test of China's firewall, 2021-2023, and the entropy of a payload.

Source: Wu et al., "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic", USENIX Security 2023,
Algorithm 1 (facts/censors.md). The censor looks at the first packet with data that a client sends in a TCP
connection and blocks it unless one of five exemptions applies; so Shadowsocks, VMess and obfs4 fall, and TLS passes.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final

PRINTABLE: Final = bytes(range(0x20, 0x7F))
_LOW_POPCOUNT, _HIGH_POPCOUNT = 3.4, 4.6
_PRINTABLE_RUN = re.compile(rb"[\x20-\x7e]{21}")
_PROTOCOL = re.compile(rb"[\x16\x17]\x03[\x00-\x09]|(?:GET|PUT|POST|HEAD) ")
_FIRST_BYTES = 6


def exemption(payload: bytes) -> str | None:
    """Return the first of the rules `Ex1` to `Ex5` that lets a client's first payload pass, None if it is blocked.

    Ex1: at most 3.4 or at least 4.6 bits set per byte. Ex2: the first six bytes are printable (0x20-0x7e). Ex3: more
    than half of the bytes are. Ex4: more than 20 in a row are. Ex5: it begins as TLS or as an HTTP request.
    An empty payload is no data and passes as `Ex1`.
    """
    count = mean_popcount(payload)
    if count <= _LOW_POPCOUNT or count >= _HIGH_POPCOUNT:
        return "Ex1"
    head = payload[:_FIRST_BYTES]
    if len(head) == _FIRST_BYTES and not head.translate(None, PRINTABLE):
        return "Ex2"
    if printable(payload) * 2 > len(payload):
        return "Ex3"
    if _PRINTABLE_RUN.search(payload):
        return "Ex4"
    if _PROTOCOL.match(payload):
        return "Ex5"
    return None


def looks_random(data: bytes) -> bool:
    """Say whether bytes, of one packet or several, pass neither as light or heavy (Ex1) nor as text (Ex3)."""
    return _LOW_POPCOUNT < mean_popcount(data) < _HIGH_POPCOUNT and printable(data) * 2 <= len(data)


def mean_popcount(payload: bytes) -> float:
    """Return the mean number of bits set per byte, 0 for no bytes; random data has 4."""
    return int.from_bytes(payload, "big").bit_count() / len(payload) if payload else 0.0


def printable(payload: bytes) -> int:
    """Count the bytes from 0x20 to 0x7e."""
    return len(payload) - len(payload.translate(None, PRINTABLE))


def entropy(payload: bytes) -> float:
    """Return the Shannon entropy of the bytes of a payload in bits per byte; at most log2 of its length."""
    size = len(payload)
    return math.log2(size) - sum(n * math.log2(n) for n in Counter(payload).values()) / size if size else 0.0
