"""Fingerprints of TLS clients and servers: JA3, JA3S and JA4.

JA3 (salesforce/ja3) is the MD5 of five lists as they stand in the hello; browsers that shuffle their extensions escape
it. JA4 (FoxIO, technical_details/JA4.md, which is under BSD 3-Clause) sorts them first and stays readable in its first
part: `t13d1516h2_8daaf6152771_e5627efa2ab1`. Both leave GREASE (RFC 8701) out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from testbed.wire.tls import ALPN, SERVER_NAME, ClientHello
from testbed.wire.tls_server import ServerHello

Transport = Literal["t", "q", "d"]
"""TLS over TCP, QUIC, DTLS."""
_JA4_VERSIONS = {
    0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2",
    0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3",
}  # fmt: skip
_NOTHING = "000000000000"


def is_grease(number: int) -> bool:
    """Say whether a cipher, extension, group, version or signature algorithm is GREASE: 0x0a0a, 0x1a1a … 0xfafa."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _real(numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if not is_grease(number)]


def ja3_text(hello: ClientHello) -> str:
    """Write what JA3 hashes: version, ciphers, extensions, groups, point formats in decimal."""
    lists = (hello.ciphers, hello.extensions, hello.groups, hello.point_formats)
    return ",".join([str(hello.version), *("-".join(map(str, _real(numbers))) for numbers in lists)])


def ja3(hello: ClientHello) -> str:
    """Return the JA3 fingerprint, 32 hexadecimal digits."""
    return _md5(ja3_text(hello))


def ja3s(hello: ServerHello) -> str:
    """Return the JA3S fingerprint of a server's answer."""
    return _md5(f"{hello.legacy_version},{hello.cipher},{'-'.join(map(str, hello.extensions))}")


def ja4(hello: ClientHello, transport: Transport = "t") -> str:
    """Return the JA4 fingerprint."""
    start, ciphers, rest = ja4_text(hello, transport).split("_", 2)
    return f"{start}_{_sha(ciphers)}_{_sha(rest)}"


def ja4_text(hello: ClientHello, transport: Transport = "t") -> str:
    """Write what JA4 hashes (the project's own name for it is JA4_r)."""
    ciphers, extensions = _real(hello.ciphers), _real(hello.extensions)
    hashed = sorted(kind for kind in extensions if kind not in (SERVER_NAME, ALPN))
    destination = "d" if SERVER_NAME in extensions else "i"
    start = f"{transport}{_ja4_version(hello)}{destination}{min(len(ciphers), 99):02}{min(len(extensions), 99):02}"
    signatures = _real(hello.signature_algorithms)
    tail = f"_{_hex(signatures)}" if signatures else ""
    return f"{start}{_ja4_alpn(hello)}_{_hex(sorted(ciphers))}_{_hex(hashed)}{tail}"


def _ja4_version(hello: ClientHello) -> str:
    # DTLS counts its versions downwards, so that the least number is the highest version.
    offered = _real(hello.versions) or [hello.version]
    is_dtls = hello.version >> 8 == 0xFE
    return _JA4_VERSIONS.get(min(offered) if is_dtls else max(offered), "00")


def _ja4_alpn(hello: ClientHello) -> str:
    first = hello.alpn[0].encode("latin-1") if hello.alpn else b""
    if not first:
        return "00"
    text = first.decode("latin-1") if first[:1].isalnum() and first[-1:].isalnum() else first.hex()
    return text[0] + text[-1]


def _hex(numbers: Iterable[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING
