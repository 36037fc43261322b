"""ClientHellos for tests: captured ones by name, and a builder for the forms that no library sends."""

from __future__ import annotations

import itertools
import ssl
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
CAPTURED = sorted(path.stem for path in (DATA / "tls").glob("*.bin"))
"""First flights of curl_cffi 0.17.0 dressed as these browsers, to https://www.example.com/."""


def captured(name: str) -> bytes:
    """Return a browser's hello with its record."""
    return (DATA / "tls" / f"{name}.bin").read_bytes()


def from_openssl(name: str | None, alpn: Sequence[str] = ()) -> bytes:
    """Return a hello that this Python's OpenSSL sends."""
    context = ssl.create_default_context()
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    sent = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without a server")


def vector(size: int, content: bytes) -> bytes:
    """Put a length of `size` bytes before a content."""
    return len(content).to_bytes(size, "big") + content


def names(*entries: tuple[int, bytes]) -> bytes:
    """Build the body of a server_name extension from (type, name) pairs."""
    return vector(2, b"".join(bytes([kind]) + vector(2, name) for kind, name in entries))


def message(
    extensions: Iterable[tuple[int, bytes]] | None, ciphers: Sequence[int] = (0x1301,), version: int = 0x303
) -> bytes:
    """Build a ClientHello handshake message; without an extension block if there are None."""
    listed = struct.pack(f"!{len(ciphers)}H", *ciphers)
    body = version.to_bytes(2, "big") + bytes(range(32)) + vector(1, b"") + vector(2, listed) + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, b"".join(kind.to_bytes(2, "big") + vector(2, content) for kind, content in extensions))
    return b"\1" + vector(3, body)


def record(content: bytes, kind: int = 22, version: int = 0x301) -> bytes:
    """Put a content into one TLS record."""
    return bytes([kind]) + version.to_bytes(2, "big") + vector(2, content)


def records(content: bytes, cuts: Iterable[int], version: int = 0x301) -> bytes:
    """Put a content into several TLS records, cut at these offsets."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(content)}), len(content)]
    return b"".join(record(content[a:b], version=version) for a, b in itertools.pairwise(places))
