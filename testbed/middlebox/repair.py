"""TCP connections taken over in the middle: sockets that go on where two hosts are, by `TCP_REPAIR` (made for CRIU).

A box that has watched a handshake knows all that a socket would: sequence numbers, windows, options. So it can stand in
for each host towards the other, and neither sees a new connection. Both sockets have addresses that aren't the box's
(`IP_TRANSPARENT`). Constants: linux/tcp.h, linux/in.h, linux/in6.h. Needs CAP_NET_ADMIN in the net's user namespace.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from dataclasses import dataclass

from testbed.errors import MachineError
from testbed.wire import tcp
from testbed.wire.ip import address_text

_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ, _TCP_REPAIR_OPTIONS, _TCP_TIMESTAMP, _TCP_REPAIR_WINDOW = (
    19, 20, 21, 22, 24, 29)  # fmt: skip
_ON, _OFF, _OFF_SILENTLY = 1, 0, -1
_RECEIVE_QUEUE, _SEND_QUEUE = 1, 2
_IPV6_TRANSPARENT, _IP_TRANSPARENT = 75, 19
_LEAST_MSS = 88  # of the kernel
_DEFAULT_MSS = {4: 536, 16: 1220}  # RFC 9293 §3.7.1
_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))
_FIRST_WINDOW = 65535
_LARGEST_SCALE = 14  # RFC 7323 §2.3


@dataclass(frozen=True, slots=True)
class Hello:
    """What one host said of itself in its SYN or SYN+ACK."""

    window: int
    options: tcp.Options

    @classmethod
    def of(cls, segment: tcp.Segment) -> Hello:
        """Read a SYN or a SYN+ACK."""
        return cls(segment.window, tcp.parse_options(segment.options))


@dataclass(frozen=True, slots=True)
class End:
    """One host as the other one has to see it: address, port, its SYN, the next byte it sends, its clock.

    `stamp`: the value of its last timestamp option, None without; `window`: what it takes now, in bytes.
    """

    address: bytes
    port: int
    hello: Hello
    next_seq: int
    stamp: int | None
    window: int

    @property
    def name(self) -> tuple[str, int]:
        """Address and port as sockets want them."""
        return address_text(self.address), self.port


def stand_in(for_: End, towards: End) -> socket.socket:
    """Return a connected socket that the host `towards` takes for the host `for_`; nothing is sent.

    `MachineError` if this kernel can't repair connections; `OSError` if it won't have this one.
    """
    with contextlib.ExitStack() as undone:
        mine = _blank(len(for_.address))
        undone.callback(mine.close)
        # no SO_REUSEADDR: repair itself lets connections share a server's address, and the option would take that back
        for queue, number in ((_SEND_QUEUE, for_.next_seq), (_RECEIVE_QUEUE, towards.next_seq)):
            mine.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
            mine.setsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ, struct.pack("=I", number))
        mine.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _segment_bytes(towards))
        mine.bind(for_.name)
        mine.connect(towards.name)
        mine.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_OPTIONS, agreed(for_, towards))
        if for_.stamp is not None:
            mine.setsockopt(socket.IPPROTO_TCP, _TCP_TIMESTAMP, struct.pack("=I", for_.stamp))
        seen = struct.pack(
            "=5I", towards.next_seq, towards.window, max(towards.window, 1), _FIRST_WINDOW, towards.next_seq
        )
        mine.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_WINDOW, seen)
        mine.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _OFF_SILENTLY)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _ALIVE:
            mine.setsockopt(socket.IPPROTO_TCP, option, value)
        mine.setblocking(False)
        undone.pop_all()
        return mine


def forget(mine: socket.socket) -> None:
    """Close a socket that stood in for a host without a word to anybody."""
    with contextlib.suppress(OSError):
        mine.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _ON)
    mine.close()


def agreed(for_: End, towards: End) -> bytes:
    """Return the options that both hosts agreed on, as an array of `struct tcp_repair_opt`; from for_'s point of view.

    Each applies the other's window scale only if both gave one (RFC 7323 §2.2); so it is with SACK and timestamps.
    """
    mine, theirs = for_.hello.options, towards.hello.options
    found = [(tcp.MSS, _segment_bytes(towards))]
    if mine.window_scale is not None and theirs.window_scale is not None:
        found.append((tcp.WINDOW_SCALE, scale(towards.hello, for_.hello) | scale(for_.hello, towards.hello) << 16))
    if mine.sack_permitted and theirs.sack_permitted:
        found.append((tcp.SACK_PERMITTED, 0))
    if mine.timestamps is not None and theirs.timestamps is not None:
        found.append((tcp.TIMESTAMPS, 0))
    return b"".join(struct.pack("=II", *pair) for pair in found)


def scale(of: Hello, towards: Hello) -> int:
    """Return by how many bits a host's windows are shifted: by what it said, if the other one said something, too."""
    own = of.options.window_scale
    return 0 if own is None or towards.options.window_scale is None else min(own, _LARGEST_SCALE)


def _segment_bytes(towards: End) -> int:
    return max(towards.hello.options.mss or _DEFAULT_MSS[len(towards.address)], _LEAST_MSS)


def _blank(address_bytes: int) -> socket.socket:
    """Return a socket under repair that may have any address."""
    family = socket.AF_INET if address_bytes == 4 else socket.AF_INET6
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        made.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _ON)
    except OSError as error:
        made.close()
        what = f"this kernel won't let a box take connections over ({errno.errorcode.get(error.errno or 0)})"
        raise MachineError(what, "use a Linux kernel of 5.0 or later, or a policy without `intercept`") from None
    return made


def check() -> None:
    """Try whether connections can be taken over here; `MachineError` if not."""
    _blank(4).close()
