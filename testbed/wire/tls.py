"""The ClientHello of TLS (RFC 8446 §4.1.2): its server name, ALPN, and what else a censor looks at."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HANDSHAKE_RECORD, CLIENT_HELLO = 22, 1
SERVER_NAME, ALPN, SUPPORTED_VERSIONS, ECH, ESNI = 0, 16, 43, 0xFE0D, 0xFFCE


class NeedMore(ValueError):
    """The bytes so far are the beginning of a ClientHello."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a ClientHello tells in clear; `sni` in lower case, None if absent."""

    version: int
    sni: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    extensions: tuple[int, ...]
    ciphers: tuple[int, ...]

    @property
    def has_ech(self) -> bool:
        """Say whether it carries Encrypted Client Hello (GREASE ECH looks the same)."""
        return ECH in self.extensions

    @property
    def has_esni(self) -> bool:
        """Say whether it carries the older encrypted server name."""
        return ESNI in self.extensions


class _Reader:
    """Reads length-prefixed fields; a field that ends outside is a `ValueError`."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.offset = data, 0

    def take(self, count: int) -> memoryview:
        end = self.offset + count
        if end > len(self.data):
            raise ValueError("a ClientHello field that ends outside")
        part, self.offset = self.data[self.offset : end], end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))

    def __bool__(self) -> bool:
        return self.offset < len(self.data)


def client_hello(data: memoryview | bytes, *, join_records: bool = False) -> ClientHello | None:
    """Read a ClientHello from the start of a stream.

    None if the stream is not TLS or begins with something else; `NeedMore` if it is cut short; `ValueError` if it is
    broken. Without `join_records` a hello split over several TLS records is not put together.
    """
    view = memoryview(data)
    if len(view) < 5:
        if view and view[0] != HANDSHAKE_RECORD:
            return None
        raise NeedMore("a record header cut short")
    if view[0] != HANDSHAKE_RECORD or view[1] != 3:
        return None
    message = _handshake_bytes(view, join_records)
    if message[0] != CLIENT_HELLO:
        return None
    return parse_hello(message)


def _handshake_bytes(view: memoryview, join_records: bool) -> memoryview:
    collected, offset = b"", 0
    while offset + 5 <= len(view) and view[offset] == HANDSHAKE_RECORD:
        length = int.from_bytes(view[offset + 3 : offset + 5], "big")
        collected += bytes(view[offset + 5 : offset + 5 + length])
        offset += 5 + length
        if len(collected) >= 4 and len(collected) >= 4 + int.from_bytes(collected[1:4], "big"):
            break
        if not join_records and offset <= len(view):
            raise ValueError("a handshake message split over several records")
    if len(collected) < 4 or len(collected) < 4 + int.from_bytes(collected[1:4], "big"):
        raise NeedMore("a ClientHello cut short")
    return memoryview(collected)


def parse_hello(message: memoryview | bytes) -> ClientHello:
    """Read a ClientHello handshake message, its 4-byte header included; `ValueError` if it is broken."""
    reader = _Reader(memoryview(message))
    if reader.number(1) != CLIENT_HELLO:
        raise ValueError("not a ClientHello")
    body = reader.vector(3)
    version = body.number(2)
    body.take(32)
    body.vector(1)
    cipher_bytes = body.vector(2).data
    if len(cipher_bytes) % 2:
        raise ValueError("an odd list of cipher suites")
    ciphers = struct.unpack(f"!{len(cipher_bytes) // 2}H", cipher_bytes)
    body.vector(1)
    sni: str | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    kinds: list[int] = []
    extensions = body.vector(2) if body else _Reader(memoryview(b""))
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        kinds.append(kind)
        if kind == SERVER_NAME and content:
            sni = _server_name(content)
        elif kind == ALPN and content:
            alpn = _protocols(content.vector(2))
        elif kind == SUPPORTED_VERSIONS and content:
            listed = content.vector(1).data
            versions = struct.unpack(f"!{len(listed) // 2}H", listed[: len(listed) // 2 * 2])
    return ClientHello(version, sni, alpn, versions, tuple(kinds), ciphers)


def _server_name(content: _Reader) -> str | None:
    names = content.vector(2)
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return bytes(name.data).decode("latin-1").lower().rstrip(".")
    return None


def _protocols(names: _Reader) -> tuple[str, ...]:
    found: list[str] = []
    while names:
        found.append(bytes(names.vector(1).data).decode("latin-1"))
    return tuple(found)


def sni_of_beginning(data: memoryview | bytes) -> str | None:
    """Read the server name from the first bytes of a hello that goes on in later packets; None if it isn't whole."""
    view = memoryview(data)
    try:
        body = _Reader(view[9:])
        body.take(34)
        body.vector(1)
        body.vector(2)
        body.vector(1)
        body.number(2)
        while body:
            kind = body.number(2)
            content = body.vector(2)
            if kind == SERVER_NAME:
                return _server_name(content)
    except ValueError:
        return None
    return None
