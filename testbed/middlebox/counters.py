"""Reads the kernel's numbers over a box: nftables counters, and what the queue had to throw away.

A dump over netlink takes some fifty microseconds, the `nft` program ten milliseconds that a packet would have to wait.
Formats: linux/netfilter/nf_tables.h, nfnetlink.h, and net/netfilter/nfnetlink_queue.c for the queue's line in /proc.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from testbed.netlink import Dumper, attribute, attributes

_NETLINK_NETFILTER, _NFT = 12, 10 << 8
_GET_OBJECT = _NFT | 19
_NAME, _DATA = 2, 4
_TABLE_ATTR, _TYPE_ATTR, _COUNTER = 1, 3, 1
_BYTES, _PACKETS = 1, 2
_GENERIC_BYTES = 4
_ALL_FAMILIES = 0
_QUEUE_FILE = Path("/proc/self/net/netfilter/nfnetlink_queue")


@dataclass(frozen=True, slots=True)
class Tally:
    """What a counter has counted."""

    packets: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.packets + other.packets, self.bytes + other.bytes)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.packets - other.packets, self.bytes - other.bytes)


class Counters:
    """The named counters of the nftables tables of one name; `OSError` if the kernel refuses."""

    def __init__(self, table: str) -> None:
        body = struct.pack("!BBH", _ALL_FAMILIES, 0, 0)
        body += attribute(_TABLE_ATTR, table.encode() + b"\0") + attribute(_TYPE_ATTR, struct.pack("!I", _COUNTER))
        self._dumper = Dumper(_NETLINK_NETFILTER, _GET_OBJECT, body)

    def read(self) -> dict[str, Tally]:
        """Return every counter by name, that of IPv4 and that of IPv6 added up."""
        found: dict[str, Tally] = {}
        for message in self._dumper.dump():
            parts = attributes(message[_GENERIC_BYTES:])
            numbers = attributes(parts[_DATA])
            packets, size = (int.from_bytes(numbers[key], "big") for key in (_PACKETS, _BYTES))
            name = parts[_NAME].rstrip(b"\0").decode()
            found[name] = found.get(name, Tally()) + Tally(packets, size)
        return found

    def close(self) -> None:
        """Close the socket."""
        self._dumper.close()


def queue_losses(number: int, path: Path = _QUEUE_FILE) -> int:
    """Return how many packets the kernel threw away because the queue or its socket was full."""
    for line in path.read_text().splitlines():
        fields = line.split()
        if int(fields[0]) == number:
            return int(fields[5]) + int(fields[6])
    return 0
