"""Which address a name has: what the zone fixes, else a stable one from the wildcard pool. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence

_POOL4, _POOL4_SIZE = int(ipaddress.IPv4Address("198.19.0.0")), 1 << 16
_POOL6 = int(ipaddress.IPv6Address("2001:db8:19::"))


def addresses_for(name: str, zone: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return a name's addresses, IPv4 first; the longest `*.suffix` of the zone wins."""
    name = name.lower().rstrip(".")
    if name in zone:
        return tuple(zone[name])
    parent = name
    while parent:
        parent = parent.partition(".")[2]
        if f"*.{parent}" in zone:
            return tuple(zone[f"*.{parent}"])
    digest = hashlib.sha256(name.encode()).digest()
    # .0 and .255 are left out: some programs take them for broadcast addresses
    four = _POOL4 + int.from_bytes(digest[:4], "big") % _POOL4_SIZE
    last = four & 0xFF
    four += 1 if last == 0 else -1 if last == 255 else 0
    six = _POOL6 + int.from_bytes(digest[8:16], "big")
    return str(ipaddress.IPv4Address(four)), str(ipaddress.IPv6Address(six))
