"""DTLS records and hellos: 1.0 (RFC 4347), 1.2 (RFC 6347), 1.3 (RFC 9147) and Cisco's 0x0100.

The hellos of DTLS 1.3 are sent in the old record format, so one reader serves all. Handshake messages may lie in pieces
over several records and datagrams; `Handshake` puts them together in any order, by offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 20, 21, 22, 23, 24
CLIENT_HELLO, SERVER_HELLO, HELLO_VERIFY_REQUEST = 1, 2, 3
VERSIONS = {0xFEFF: "1.0", 0xFEFD: "1.2", 0xFEFC: "1.3", 0x0100: "Cisco"}
_RECORD = struct.Struct("!BHHHIH")
_RECORD_TYPES = range(CHANGE_CIPHER_SPEC, HEARTBEAT + 1)
_LONGEST_RECORD_BYTES = (1 << 14) + 2048
_MESSAGE_HEAD_BYTES = 12
_LONGEST_MESSAGE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a datagram. `sequence` is the 48-bit number; the content may be cut short with the datagram."""

    type: int
    version: int
    epoch: int
    sequence: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Hello:
    """A ClientHello, or a ServerHello with its one chosen cipher suite."""

    kind: int
    record_version: int
    version: int
    session_id: bytes
    cookie: bytes
    ciphers: tuple[int, ...]
    extensions: tuple[tuple[int, bytes], ...]

    @property
    def extension_types(self) -> tuple[int, ...]:
        """Return the types of the extensions in their order."""
        return tuple(kind for kind, _ in self.extensions)


def records(datagram: bytes | memoryview) -> Iterator[Record]:
    """Yield the records of a datagram up to the first that isn't one in the classic format."""
    data = memoryview(datagram)
    offset = 0
    while offset + _RECORD.size <= len(data):
        kind, version, epoch, high, low, length = _RECORD.unpack_from(data, offset)
        if kind not in _RECORD_TYPES or version not in VERSIONS or not 0 < length <= _LONGEST_RECORD_BYTES:
            return
        offset += _RECORD.size
        yield Record(kind, version, epoch, high << 32 | low, bytes(data[offset : offset + length]))
        offset += length


class Handshake:
    """The handshake messages of one side, put together from their pieces."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[int, int, int], dict[int, bytes]] = {}
        self._versions: dict[tuple[int, int, int], int] = {}

    def feed(self, datagram: bytes | memoryview) -> None:
        """Take the unencrypted handshake records of a datagram."""
        for record in records(datagram):
            if record.type == HANDSHAKE and record.epoch == 0:
                self._take(record)

    def _take(self, record: Record) -> None:
        content, offset = record.content, 0
        while offset + _MESSAGE_HEAD_BYTES <= len(content):
            kind, number = content[offset], int.from_bytes(content[offset + 4 : offset + 6], "big")
            length, at, size = (int.from_bytes(content[offset + i : offset + i + 3], "big") for i in (1, 6, 9))
            offset += _MESSAGE_HEAD_BYTES
            if at + size > length or length > _LONGEST_MESSAGE_BYTES:
                return
            key = (number, kind, length)
            self._pieces.setdefault(key, {})[at] = content[offset : offset + size]
            self._versions[key] = record.version
            offset += size

    def message(self, kind: int) -> tuple[int, bytes] | None:
        """Return (record version, body) of the first whole message of a kind, None if there is none (yet)."""
        for key in sorted(self._pieces):
            if key[1] == kind and (body := _joined(self._pieces[key], key[2])) is not None:
                return self._versions[key], body
        return None

    def begun(self, kind: int) -> bool:
        """Say whether a piece of such a message was seen."""
        return any(key[1] == kind for key in self._pieces)


def _joined(pieces: dict[int, bytes], length: int) -> bytes | None:
    body = b""
    for at in sorted(pieces):
        if at > len(body):
            return None
        body += pieces[at][len(body) - at :]
    return body if len(body) == length else None


def client_hello(datagrams: Iterable[bytes | memoryview]) -> Hello | None:
    """Read the first ClientHello in the datagrams of one side; None if there is none, or it isn't whole."""
    return _hello(datagrams, CLIENT_HELLO)


def server_hello(datagrams: Iterable[bytes | memoryview]) -> Hello | None:
    """Read the first ServerHello in the datagrams of one side; None if there is none, or it isn't whole."""
    return _hello(datagrams, SERVER_HELLO)


def _hello(datagrams: Iterable[bytes | memoryview], kind: int) -> Hello | None:
    handshake = Handshake()
    for datagram in datagrams:
        handshake.feed(datagram)
    found = handshake.message(kind)
    try:
        return parse_hello(kind, *found) if found else None
    except ValueError:
        return None


def parse_hello(kind: int, record_version: int, body: bytes) -> Hello:
    """Read the body of a ClientHello or a ServerHello; `ValueError` if it is broken."""
    reader = _Reader(body)
    version = int.from_bytes(reader.take(2), "big")
    if version not in VERSIONS:
        raise ValueError(f"no version of DTLS: {version:#06x}")
    reader.take(32)
    session_id, cookie = reader.vector(1), b""
    if kind == CLIENT_HELLO:
        cookie = reader.vector(1)
        ciphers, _ = reader.vector(2), reader.vector(1)
    else:
        ciphers, _ = reader.take(2), reader.take(1)
    if len(ciphers) % 2 or not ciphers or len(session_id) > 32:
        raise ValueError("a broken list of cipher suites or a session id that is too long")
    extensions: list[tuple[int, bytes]] = []
    rest = _Reader(reader.vector(2)) if reader.left else _Reader(b"")
    while rest.left:
        extensions.append((int.from_bytes(rest.take(2), "big"), rest.vector(2)))
    return Hello(
        kind, record_version, version, session_id, cookie,
        struct.unpack(f"!{len(ciphers) // 2}H", ciphers), tuple(extensions),
    )  # fmt: skip


class _Reader:
    """Reads fields in order; a field that ends outside is a `ValueError`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("a field of a DTLS hello that ends outside")
        self._at += count
        return self._data[self._at - count : self._at]

    def vector(self, size: int) -> bytes:
        return self.take(int.from_bytes(self.take(size), "big"))
