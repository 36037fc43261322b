"""What every netlink family shares: a dump's messages, and attributes. Formats: linux/netlink.h, host byte order."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_REQUEST, _DUMP, _ERROR, _DONE = 1, 0x300, 2, 3
_RECEIVE_BYTES = 1 << 18
_NESTED = 0x3FFF


class Dumper:
    """A socket of one family that asks again and again for the same dump."""

    def __init__(self, family: int, kind: int, body: bytes) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._socket.settimeout(1.0)
        self._request = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _DUMP, 0, 0) + body

    def dump(self) -> Iterator[bytes]:
        """Yield each message of the answer without its netlink header; `OSError` if the kernel refuses."""
        self._socket.send(self._request)
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError(-struct.unpack_from("=i", data, 16)[0], "the kernel refuses a netlink dump")
                yield data[16:length]
                data = data[(length + 3) & ~3 :]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def attribute(kind: int, content: bytes) -> bytes:
    """Return an attribute, padded."""
    return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return attributes by their kind, up to the first that is cut short."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & _NESTED] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found
