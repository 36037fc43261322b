"""What listens in a node, read from the kernel: `{"tcp/443", "udp/53"}`.

TCP's part comes from the kernel's socket diagnosis (linux/sock_diag.h, linux/inet_diag.h), which is asked for what
listens and nothing else, in a fraction of a millisecond. To write `/proc/net/tcp` the kernel looks through the
connections of the whole machine, several milliseconds each time, which whoever waits for a server pays again and again.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from testbed.net import inside
from testbed.netlink import Dumper

_SOCK_DIAG, _BY_FAMILY = 4, 20
_TCP_LISTEN, _UDP_UNCONNECTED = 10, 7
_PORT_AT = 4  # in struct inet_diag_msg


def listening(pid: int) -> set[str]:
    """Return the ports that something listens on in the network namespace of a process."""
    return {*(f"tcp/{port}" for port in _tcp(pid)), *(f"udp/{port}" for port in _written(pid, "udp", _UDP_UNCONNECTED))}


def _tcp(pid: int) -> set[int]:
    try:
        with inside.visiting(pid):
            return {port for family in (socket.AF_INET, socket.AF_INET6) for port in _diagnosed(family)}
    except OSError:  # a kernel without it; or the process is gone, and there is nothing to read, either
        return set(_written(pid, "tcp", _TCP_LISTEN))


def _diagnosed(family: int) -> Iterator[int]:
    """Yield the ports that something listens on, of this thread's network namespace."""
    request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << _TCP_LISTEN)
    dumper = Dumper(_SOCK_DIAG, _BY_FAMILY, request)
    try:
        for message in dumper.dump():
            yield int.from_bytes(message[_PORT_AT : _PORT_AT + 2], "big")
    finally:
        dumper.close()


def _written(pid: int, protocol: str, state: int) -> Iterator[int]:
    """Yield the local ports of the sockets in a state that `/proc` shows."""
    for name in (protocol, f"{protocol}6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if int(fields[3], 16) == state:
                yield int(fields[1].rpartition(":")[2], 16)
