"""Reads what the kernel's traffic control has counted: one dump over netlink, some fifty microseconds.

Formats: linux/rtnetlink.h (RTM_GETQDISC, struct tcmsg) and linux/gen_stats.h (the basic and the queue statistics).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from testbed.netlink import Dumper, attributes

_ROUTE, _GET = 0, 38
_KIND, _STATS2, _BASIC, _QUEUE = 1, 7, 1, 3
_TCMSG = struct.Struct("=BxxxiIII")


@dataclass(frozen=True, slots=True)
class Discipline:
    """One queueing discipline of a port: what it let go, what waits in it, what it dropped, in packets and bytes."""

    kind: str = ""
    sent: int = 0
    sent_bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    drops: int = 0


class Disciplines:
    """The queueing disciplines of this network namespace; `OSError` if the kernel refuses."""

    def __init__(self) -> None:
        self._dumper = Dumper(_ROUTE, _GET, _TCMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))

    def of(self, *ports: str) -> list[dict[str, Discipline]]:
        """Return the disciplines of some ports, for each port by their kind."""
        found: dict[int, dict[str, Discipline]] = {socket.if_nametoindex(port): {} for port in ports}
        for message in self._dumper.dump():
            at = found.get(_TCMSG.unpack_from(message)[1])
            if at is not None:
                one = _discipline(message[_TCMSG.size :])
                at[one.kind] = one
        return list(found.values())

    def close(self) -> None:
        """Close the socket."""
        self._dumper.close()


def _discipline(data: bytes) -> Discipline:
    parts = attributes(data)
    kind = parts[_KIND].rstrip(b"\0").decode()
    stats = attributes(parts.get(_STATS2, b""))
    if _BASIC not in stats or _QUEUE not in stats:
        return Discipline(kind)
    sent_bytes, sent = struct.unpack_from("=QI", stats[_BASIC])
    waiting, waiting_bytes, drops = struct.unpack_from("=III", stats[_QUEUE])
    return Discipline(kind, sent, sent_bytes, waiting, waiting_bytes, drops)
