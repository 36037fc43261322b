"""A small NFQUEUE binding over AF_NETLINK: packets come in as memoryviews, verdicts go out, in any order.

Ours because the Python bindings had no release since 2023 and one stops on a full buffer. Message formats:
linux/netfilter/nfnetlink.h and nfnetlink_queue.h. Network byte order throughout, netlink headers in host order.
Verdicts are gathered and sent together: `flush` after each batch, or the packets wait.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from dataclasses import dataclass

from testbed.errors import MachineError
from testbed.middlebox import counters

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 3 << 8
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_BIND, _COPY_PACKET = 1, 2
_ATTR_HEADER, _ATTR_VERDICT, _ATTR_MARK, _ATTR_STAMP, _ATTR_INDEV, _ATTR_PAYLOAD = 1, 2, 3, 4, 5, 10
_NF_DROP, _NF_ACCEPT = 0, 1
_ERROR, _REQUEST, _ACK = 2, 1, 4
_SO_RCVBUFFORCE, _SO_TIMESTAMP = 33, 29
_RECEIVE_BYTES = 1 << 18
_GSO = 4
_MESSAGE, _ATTRIBUTE = struct.Struct("=IH"), struct.Struct("=HH")
_NUMBER, _TWO_NUMBERS, _STAMP = struct.Struct("!I"), struct.Struct("!II"), struct.Struct("!QQ")


@dataclass(slots=True)
class Queued:
    """A packet that waits for its verdict: its id, the interface it came in by, its IP bytes, when it came.

    `arrived`: Unix time at which the kernel got it from the wire, 0 if it didn't say.
    """

    id: int
    in_interface: int
    raw: memoryview
    arrived: float = 0.0


class Queue:
    """One bound queue. `overruns` counts the times its socket ran over; `losses` the packets that were lost."""

    def __init__(self, number: int, *, longest: int = 8192, buffer_bytes: int = 1 << 23) -> None:
        self.number, self.overruns = number, 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
                break
        self._configure(_attribute(_CFG_CMD, struct.pack("!BBH", _BIND, 0, 0)))
        self._configure(_attribute(_CFG_PARAMS, struct.pack("!IB", 0xFFFF, _COPY_PACKET)))
        self._configure(_attribute(_CFG_MAXLEN, struct.pack("!I", longest)))
        # without the GSO flag the kernel splits super-packets first, so that the censor sees what the wire would carry
        self._configure(_attribute(_CFG_MASK, struct.pack("!I", _GSO)) + _attribute(_CFG_FLAGS, struct.pack("!I", 0)))
        self._socket.setblocking(False)
        # while any socket wants to know, the kernel notes when each packet came: from that we know how late we are
        self._stamping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._stamping.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._verdicts: list[bytes] = []
        self._accepting, self._dropping = self._all_but_id(_NF_ACCEPT), self._all_but_id(_NF_DROP)

    def _configure(self, attributes: bytes) -> None:
        self._send(_CONFIG, attributes, _REQUEST | _ACK)
        answer = self._socket.recv(4096)
        code = -struct.unpack_from("=i", answer, 16)[0]
        if code:
            raise MachineError(
                f"NFQUEUE {self.number} can't be bound: {errno.errorcode.get(code, code)}",
                "load the kernel module nfnetlink_queue (`modprobe nfnetlink_queue`)",
            )

    def _send(self, kind: int, attributes: bytes, flags: int = _REQUEST) -> None:
        self._socket.send(self._message(kind, attributes, flags))

    def _message(self, kind: int, attributes: bytes, flags: int = _REQUEST) -> bytes:
        body = struct.pack("!BBH", 0, 0, self.number) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._socket.fileno()

    def losses(self) -> int:
        """Return how many packets the kernel had to throw away because we were too slow."""
        return counters.queue_losses(self.number)

    def receive(self) -> list[Queued]:
        """Return the packets of one datagram, none if nothing waits; their bytes are valid until the next call."""
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.overruns += 1
            return []
        found: list[Queued] = []
        start = 0
        while start + 20 <= size:
            length, kind = _MESSAGE.unpack_from(self._buffer, start)
            if length < 20 or start + length > size:
                break
            if kind == _PACKET:
                queued = _packet(self._view[start + 20 : start + length])
                if queued is not None:
                    found.append(queued)
            start += (length + 3) & ~3
        return found

    def accept(self, packet_id: int, mark: int = 0, *, raw: bytes | None = None) -> None:
        """Let a packet go on at the next `flush`, with a mark for the kernel's rules; `raw` replaces its IP bytes."""
        if not mark and raw is None:
            self._verdicts.append(self._accepting + _NUMBER.pack(packet_id))
            return
        attributes = _attribute(_ATTR_VERDICT, _TWO_NUMBERS.pack(_NF_ACCEPT, packet_id))
        if mark:
            attributes += _attribute(_ATTR_MARK, _NUMBER.pack(mark))
        if raw is not None:
            attributes += _attribute(_ATTR_PAYLOAD, raw)
        self._verdicts.append(self._message(_VERDICT, attributes))

    def drop(self, packet_id: int) -> None:
        """End a packet, at the next `flush`."""
        self._verdicts.append(self._dropping + _NUMBER.pack(packet_id))

    def _all_but_id(self, verdict: int) -> bytes:
        """Return a verdict's message up to the packet's id, which is its end."""
        return self._message(_VERDICT, _attribute(_ATTR_VERDICT, _TWO_NUMBERS.pack(verdict, 0)))[:-4]

    def flush(self) -> None:
        """Hand the verdicts to the kernel, all in one call."""
        if self._verdicts:
            self._socket.send(b"".join(self._verdicts))
            self._verdicts.clear()

    def close(self) -> None:
        """Unbind; the kernel drops what still waits."""
        self._socket.close()
        self._stamping.close()


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def _packet(view: memoryview) -> Queued | None:
    packet_id, in_interface, arrived, start, end = 0, 0, 0.0, 0, len(view)
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(view, start)
        if length < 4 or start + length > end:
            break
        kind &= 0x7FFF
        if kind == _ATTR_PAYLOAD:  # the kernel puts it last
            return Queued(packet_id, in_interface, view[start + 4 : start + length], arrived)
        if kind == _ATTR_HEADER:
            packet_id = _NUMBER.unpack_from(view, start + 4)[0]
        elif kind == _ATTR_INDEV:
            in_interface = _NUMBER.unpack_from(view, start + 4)[0]
        elif kind == _ATTR_STAMP:
            seconds, micros = _STAMP.unpack_from(view, start + 4)
            arrived = seconds + micros * 1e-6
        start += (length + 3) & ~3
    return None
