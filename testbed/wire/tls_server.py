"""What a TLS server shows in clear: its ServerHello, alerts, and up to TLS 1.2 the names in its certificate.

A censor that watches answers tells from them which version was agreed on, that a handshake failed, or whose the server
is although no name was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from testbed.wire.tls import ALPN, HANDSHAKE_RECORD, LONGEST_RECORD, SUPPORTED_VERSIONS, read_protocols

SERVER_HELLO, CERTIFICATE = 2, 11
ALERT_RECORD = 21
_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


@dataclass(frozen=True, slots=True)
class ServerHello:
    """What a ServerHello tells (RFC 8446 §4.1.3)."""

    version: int
    """The version that was agreed on: the supported_versions extension's if there is one."""
    legacy_version: int
    cipher: int
    extensions: tuple[int, ...]
    alpn: tuple[str, ...]
    """The chosen protocol; TLS 1.3 hides it."""
    asks_again: bool
    """It is a HelloRetryRequest."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert in clear (RFC 8446 §6): level 1 warns, 2 is fatal."""

    level: int
    description: int


def messages(data: memoryview | bytes) -> Iterator[tuple[int, bytes]]:
    """Walk the whole handshake messages, (type, body), at the start of a stream, joined over records.

    Ends where another record (ChangeCipherSpec, encrypted data) or the bytes so far do; `ValueError` if no TLS.
    """
    collected, at = bytearray(), 0
    while at + 5 <= len(data) and data[at] == HANDSHAKE_RECORD:
        length = data[at + 3] << 8 | data[at + 4]
        if data[at + 1] != 3 or length > LONGEST_RECORD:
            raise ValueError("not a record of TLS")
        collected += data[at + 5 : at + 5 + length]
        at += 5 + length
        while len(collected) >= 4 and len(collected) >= (end := 4 + int.from_bytes(collected[1:4], "big")):
            yield collected[0], bytes(collected[4:end])
            del collected[:end]


def server_hello(data: memoryview | bytes) -> ServerHello | None:
    """Read the ServerHello at the start of a server's stream; None if there is none (yet), `ValueError` if broken."""
    first = next(messages(data), None)
    return parse_server_hello(first[1]) if first is not None and first[0] == SERVER_HELLO else None


def parse_server_hello(body: memoryview | bytes) -> ServerHello:
    """Read a ServerHello without its 4-byte header; `ValueError` if it is broken."""
    data = bytes(body)
    at = 35 + data[34] if len(data) > 34 else len(data)
    if at + 3 > len(data):
        raise ValueError("a ServerHello cut short")
    legacy, cipher = int.from_bytes(data[:2], "big"), int.from_bytes(data[at : at + 2], "big")
    found: dict[int, bytes] = {}
    at, stop = at + 5, min(at + 5 + int.from_bytes(data[at + 3 : at + 5], "big"), len(data))
    while at + 4 <= stop:
        kind, length = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if at + 4 + length > stop:
            raise ValueError("an extension that ends outside")
        found[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    chosen = found.get(SUPPORTED_VERSIONS, b"")
    return ServerHello(
        version=int.from_bytes(chosen, "big") if len(chosen) == 2 else legacy,
        legacy_version=legacy,
        cipher=cipher,
        extensions=tuple(found),
        alpn=read_protocols(found.get(ALPN, b"")),
        asks_again=data[2:34] == _RETRY_RANDOM,
    )


def alert(data: memoryview | bytes) -> Alert | None:
    """Read the first alert in clear of a stream; None if there is none before encryption begins."""
    at = 0
    while at + 7 <= len(data) and data[at] in (HANDSHAKE_RECORD, ALERT_RECORD) and data[at + 1] == 3:
        length = data[at + 3] << 8 | data[at + 4]
        if data[at] == ALERT_RECORD:
            return Alert(data[at + 5], data[at + 6]) if length == 2 else None
        at += 5 + length
    return None


def certificate_names(data: memoryview | bytes) -> tuple[str, ...]:
    """Read the DNS names of the server's own certificate; none if it was encrypted (TLS 1.3) or isn't whole yet.

    `ValueError` if the certificate can't be read.
    """
    body = next((content for kind, content in messages(data) if kind == CERTIFICATE), None)
    if body is None:
        return ()
    length = int.from_bytes(body[3:6], "big")
    certificate = x509.load_der_x509_certificate(body[6 : 6 + length])
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return tuple(str(attribute.value).lower() for attribute in common)
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(f"a certificate whose names can't be read: {error}") from None
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
