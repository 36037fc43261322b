"""A small NFQUEUE binding over AF_NETLINK: packets come in as bytes, verdicts go out, in any order.

Ours because the Python bindings had no release since 2023 and one stops on a full buffer. Message formats:
linux/netfilter/nfnetlink.h and nfnetlink_queue.h. Network byte order throughout, netlink headers in host order.
Verdicts are gathered and sent together: `flush` after each batch, or the packets wait.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

from testbed.errors import MachineError
from testbed.middlebox import counters
from testbed.middlebox.queued import Queued as Queued
from testbed.middlebox.queued import Reader
from testbed.netlink import attribute

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 3 << 8
_VERDICT, _CONFIG = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_BIND, _COPY_PACKET = 1, 2
_ATTR_VERDICT, _ATTR_MARK, _ATTR_PAYLOAD = 2, 3, 10
_NF_DROP, _NF_ACCEPT, _NF_REPEAT = 0, 1, 4
_ERROR, _REQUEST, _ACK = 2, 1, 4
_SO_RCVBUFFORCE, _SO_TIMESTAMP = 33, 29
_LONGEST_HEAD_BYTES = 4096
_GSO = 4
_NUMBER, _TWO_NUMBERS = struct.Struct("!I"), struct.Struct("!II")


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
        self._configure(attribute(_CFG_CMD, struct.pack("!BBH", _BIND, 0, 0)))
        self._configure(attribute(_CFG_PARAMS, struct.pack("!IB", 0xFFFF, _COPY_PACKET)))
        self._configure(attribute(_CFG_MAXLEN, struct.pack("!I", longest)))
        # without the GSO flag the kernel splits super-packets first, so that the censor sees what the wire would carry
        self._configure(attribute(_CFG_MASK, struct.pack("!I", _GSO)) + attribute(_CFG_FLAGS, struct.pack("!I", 0)))
        self._socket.setblocking(False)
        # while any socket wants to know, the kernel notes when each packet came: from that we know how late we are
        self._stamping = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._stamping.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        self._longest_datagram = longest + _LONGEST_HEAD_BYTES
        self._reader = Reader()
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
        """Return the packets of one datagram, none if nothing waits."""
        try:
            data = self._socket.recv(self._longest_datagram)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.overruns += 1
            return []
        return self._reader.read(data)

    def accept(self, packet_id: int, mark: int = 0, *, raw: bytes | None = None) -> None:
        """Let a packet go on at the next `flush`; `raw` replaces its IP bytes.

        With a mark it goes back to the head of the chain that it came from, whose rules learn from the mark.
        """
        if not mark and raw is None:
            self._verdicts.append(self._accepting + _NUMBER.pack(packet_id))
            return
        verdict = _NF_REPEAT if mark else _NF_ACCEPT
        attributes = attribute(_ATTR_VERDICT, _TWO_NUMBERS.pack(verdict, packet_id))
        if mark:
            attributes += attribute(_ATTR_MARK, _NUMBER.pack(mark))
        if raw is not None:
            attributes += attribute(_ATTR_PAYLOAD, raw)
        self._verdicts.append(self._message(_VERDICT, attributes))

    def drop(self, packet_id: int) -> None:
        """End a packet, at the next `flush`."""
        self._verdicts.append(self._dropping + _NUMBER.pack(packet_id))

    def _all_but_id(self, verdict: int) -> bytes:
        """Return a verdict's message up to the packet's id, which is its end."""
        return self._message(_VERDICT, attribute(_ATTR_VERDICT, _TWO_NUMBERS.pack(verdict, 0)))[:-4]

    def flush(self) -> None:
        """Hand the verdicts to the kernel, all in one call."""
        if self._verdicts:
            self._socket.send(b"".join(self._verdicts))
            self._verdicts.clear()

    def close(self) -> None:
        """Unbind; the kernel drops what still waits."""
        self._socket.close()
        self._stamping.close()
