"""A small NFQUEUE binding over AF_NETLINK: packets come in as memoryviews, verdicts go out, in any order.

Ours because the Python bindings had no release since 2023 and one stops on a full buffer. Message formats:
linux/netfilter/nfnetlink.h and nfnetlink_queue.h. Network byte order throughout, netlink headers in host order.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.errors import MachineError

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 3 << 8
_PACKET, _VERDICT, _CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_BIND, _COPY_PACKET = 1, 2
_ATTR_HEADER, _ATTR_VERDICT, _ATTR_MARK, _ATTR_INDEV, _ATTR_PAYLOAD = 1, 2, 3, 5, 10
_NF_DROP, _NF_ACCEPT = 0, 1
_ERROR, _REQUEST, _ACK = 2, 1, 4
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 1 << 18
_GSO = 4


@dataclass(slots=True)
class Queued:
    """A packet that waits for its verdict: its id, the interface it came in by, its IP bytes."""

    id: int
    in_interface: int
    raw: memoryview


class Queue:
    """One bound queue. `overruns` counts the times the kernel had to throw packets away because we were too slow."""

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
        self._buffer = bytearray(_RECEIVE_BYTES)

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
        body = struct.pack("!BBH", 0, 0, self.number) + attributes
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body)

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._socket.fileno()

    def receive(self) -> Iterator[Queued]:
        """Yield the packets of one datagram, none if nothing waits; their bytes are valid until the next call."""
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.overruns += 1
            return
        view = memoryview(self._buffer)[:size]
        while len(view) >= 20:
            length, kind = struct.unpack_from("=IH", view)
            if length < 20 or length > len(view):
                return
            if kind == _PACKET:
                queued = _packet(view[20:length])
                if queued is not None:
                    yield queued
            view = view[(length + 3) & ~3 :]

    def accept(self, packet_id: int, mark: int = 0) -> None:
        """Let a packet go on, with a mark for the kernel's rules."""
        attributes = _attribute(_ATTR_VERDICT, struct.pack("!II", _NF_ACCEPT, packet_id))
        self._send(_VERDICT, attributes + (_attribute(_ATTR_MARK, struct.pack("!I", mark)) if mark else b""))

    def drop(self, packet_id: int) -> None:
        """End a packet."""
        self._send(_VERDICT, _attribute(_ATTR_VERDICT, struct.pack("!II", _NF_DROP, packet_id)))

    def close(self) -> None:
        """Unbind; the kernel drops what still waits."""
        self._socket.close()


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def _packet(view: memoryview) -> Queued | None:
    packet_id = in_interface = 0
    raw: memoryview | None = None
    while len(view) >= 4:
        length, kind = struct.unpack_from("=HH", view)
        if length < 4 or length > len(view):
            break
        content = view[4:length]
        if kind & 0x7FFF == _ATTR_HEADER:
            packet_id = struct.unpack_from("!I", content)[0]
        elif kind & 0x7FFF == _ATTR_INDEV:
            in_interface = struct.unpack_from("!I", content)[0]
        elif kind & 0x7FFF == _ATTR_PAYLOAD:
            raw = content
        view = view[(length + 3) & ~3 :]
    return None if raw is None else Queued(packet_id, in_interface, raw)
