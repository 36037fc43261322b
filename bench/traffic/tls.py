"""A browser-like ClientHello."""

from __future__ import annotations

import struct
from random import Random

_CIPHERS = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x9C, 0x9D, 0x2F)


def _extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def _listed(body: bytes, size: int = 2) -> bytes:
    return len(body).to_bytes(size, "big") + body


def handshake(
    name: str, chance: Random, large: bool = False, alpn: bytes = b"\x02h2\x08http/1.1", more: bytes = b""
) -> bytes:
    """The handshake message; `large` adds a key share of X25519MLKEM768 (1,216 bytes)."""
    shares = struct.pack("!HH", 0x11EC, 1216) + chance.randbytes(1216) if large else b""
    shares += struct.pack("!HH", 0x1D, 32) + chance.randbytes(32)
    extensions = (
        _extension(0, _listed(b"\0" + _listed(name.encode())))
        + _extension(23, b"") + _extension(0xFF01, b"\0")
        + _extension(10, _listed(struct.pack("!HHH", 0x11EC, 0x1D, 0x17)))
        + _extension(11, b"\1\0") + _extension(35, b"") + _extension(16, _listed(alpn))
        + _extension(5, b"\1\0\0\0\0")
        + _extension(13, _listed(struct.pack("!HHHH", 0x0403, 0x0804, 0x0401, 0x0503)))
        + _extension(51, _listed(shares)) + _extension(45, b"\1\1")
        + _extension(43, _listed(struct.pack("!HH", 0x0304, 0x0303), 1)) + more
    )  # fmt: skip
    ciphers = struct.pack(f"!{len(_CIPHERS)}H", *_CIPHERS)
    body = b"\3\3" + chance.randbytes(32) + _listed(chance.randbytes(32), 1) + _listed(ciphers) + b"\1\0"
    body += _listed(extensions)
    return b"\1" + _listed(body, 3)


def client_hello(name: str, chance: Random, large: bool = False) -> bytes:
    """The same in a record, ready for TCP."""
    return b"\x16\3\1" + _listed(handshake(name, chance, large))


def server_hello(chance: Random) -> bytes:
    """A TLS 1.3 answer in a record."""
    body = b"\3\3" + chance.randbytes(32) + _listed(chance.randbytes(32), 1) + b"\x13\x01\0"
    body += _listed(_extension(43, b"\3\4") + _extension(51, struct.pack("!HH", 0x1D, 32) + chance.randbytes(32)))
    return b"\x16\3\3" + _listed(b"\2" + _listed(body, 3))
