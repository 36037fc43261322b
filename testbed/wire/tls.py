"""The ClientHello of TLS (RFC 8446 §4.1.2): its names, ALPN, and what else a censor looks at.

A censor differs from a server in how hard it tries. The knobs here are the ones that measurements told apart: whether a
hello that is split over several records is joined (the Great Firewall did not, net4people #308), and whether records of
other types before it are stepped over, as servers do with an early alert.

The frame of a hello (lengths, the list of extensions, the names) is read strictly: what a server would refuse is a
`ValueError`. What stands inside the other extensions is read as far as it goes, since no censor minds it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

HANDSHAKE_RECORD, CLIENT_HELLO = 22, 1
SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN = 0, 10, 11, 13, 16
PADDING, SESSION_TICKET, PRE_SHARED_KEY, SUPPORTED_VERSIONS = 21, 35, 41, 43
ECH, ESNI = 0xFE0D, 0xFFCE

RECORD_TYPES = range(20, 25)
LONGEST_RECORD = 1 << 14
LONGEST_HELLO = 2 + 32 + 1 + 255 + 2 + 65535 + 1 + 255 + 2 + 65535
_PAIR = struct.Struct("!HH")
_HOST_NAME = 0

Span = tuple[int, int, int]
"""An extension: its type, and from where to where its body stands."""


class NeedMore(ValueError):
    """The bytes so far are the beginning of a ClientHello."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a ClientHello tells in clear, GREASE included; numbers as they stand on the wire, in its order."""

    version: int
    """The legacy version of the hello itself (0x0303 since TLS 1.2)."""
    sni: str | None
    """The first host name in lower case without the last dot, an address as it stands; None if there is none."""
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    extensions: tuple[int, ...]
    ciphers: tuple[int, ...]
    names: tuple[str, ...] = ()
    """All host names; RFC 6066 allows one."""
    groups: tuple[int, ...] = ()
    point_formats: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    session_id: bytes = b""
    bodies: tuple[bytes, ...] = field(default=(), repr=False)
    """The extensions' contents, in the order of `extensions`."""

    def body(self, kind: int) -> bytes | None:
        """Return the content of the first extension of this type, None if it is absent."""
        return self.bodies[self.extensions.index(kind)] if kind in self.extensions else None

    @property
    def has_ech(self) -> bool:
        """Say whether it carries Encrypted Client Hello (GREASE ECH looks the same); `sni` is then the outer name."""
        return ECH in self.extensions

    @property
    def has_esni(self) -> bool:
        """Say whether it carries the older encrypted server name."""
        return ESNI in self.extensions

    @property
    def resumes(self) -> bool:
        """Say whether it comes back to a server: with a ticket (RFC 5077) or a pre-shared key (RFC 8446 §4.2.11)."""
        return bool(self.body(SESSION_TICKET)) or PRE_SHARED_KEY in self.extensions

    @property
    def padding_bytes(self) -> int:
        """Return the size of its padding extension (RFC 7685)."""
        return len(self.body(PADDING) or b"")


def client_hello(
    data: memoryview | bytes, *, join_records: bool = False, skip_other_records: bool = False
) -> ClientHello | None:
    """Read a ClientHello from the start of a stream.

    None if the stream is not TLS or begins with something else; `NeedMore` if it is cut short; `ValueError` if it is
    broken. Without `join_records` a hello split over several TLS records is not put together (`ValueError`).
    `skip_other_records` steps over records of other types before and between (RFC 8446 §5.1 forbids them between).
    """
    found = _find_hello(data, join_records, skip_other_records)
    return _read(*found) if found else None


def server_name(
    data: memoryview | bytes, *, join_records: bool = False, skip_other_records: bool = False
) -> str | None:
    """Read nothing but the name: the `sni` of `client_hello`, the same errors, at a fraction of the time."""
    found = _find_hello(data, join_records, skip_other_records)
    if found is None:
        return None
    hello, at, end = found
    for kind, begin, stop in _extensions(hello, *_extension_block(hello, at, end)):
        if kind == SERVER_NAME:
            return next(iter(_names(hello, begin, stop)), None)
    return None


def sni_of_beginning(data: memoryview | bytes, *, loose: bool = False) -> str | None:
    """Read the server name from the first bytes of a hello that goes on in later packets; None if it isn't whole.

    A censor that reads packets one by one pads nothing: it finds the extension whole or it does not. A `loose` one
    does not mind where the list of extensions is said to end.
    """
    if len(data) < 9 or data[0] != HANDSHAKE_RECORD or data[1] != 3 or data[5] != CLIENT_HELLO:
        return None
    end = min(len(data), 5 + (data[3] << 8 | data[4]), 9 + int.from_bytes(data[6:9], "big"))
    try:
        at, stop = _extension_block(data, 9, end, whole=False)
        stop = end if loose else stop
        while at + 4 <= min(stop, end):
            kind, length = _PAIR.unpack_from(data, at)
            at += 4 + length
            if kind == SERVER_NAME and at <= min(stop, end):
                return next(iter(_names(data, at - length, at)), None)
    except ValueError:
        return None
    return None


def parse_hello(message: memoryview | bytes) -> ClientHello:
    """Read a ClientHello handshake message, its 4-byte header included; `ValueError` if it is broken."""
    if len(message) < 4 or message[0] != CLIENT_HELLO:
        raise ValueError("not a ClientHello")
    end = 4 + int.from_bytes(message[1:4], "big")
    if end > len(message):
        raise ValueError("a ClientHello field that ends outside")
    return _read(message, 4, end)


def _find_hello(
    data: memoryview | bytes, join_records: bool, skip_other_records: bool
) -> tuple[memoryview | bytes, int, int] | None:
    """Return the bytes that hold a hello's body and where in them; most packets are turned down at the first byte."""
    size = len(data)
    if size and data[0] != HANDSHAKE_RECORD and not (skip_other_records and data[0] in RECORD_TYPES):
        return None
    if size > 1 and data[1] != 3:
        return None
    if size >= 9 and data[0] == HANDSHAKE_RECORD and data[5] == CLIENT_HELLO:
        length = data[3] << 8 | data[4]
        end = 9 + int.from_bytes(data[6:9], "big")
        if end - 5 <= length <= LONGEST_RECORD:
            if end > size:
                raise NeedMore("a ClientHello cut short")
            return data, 9, end
    return _join_hello(data, join_records, skip_other_records)


def _join_hello(
    data: memoryview | bytes, join_records: bool, skip_other_records: bool
) -> tuple[bytes, int, int] | None:
    collected, at = bytearray(), 0
    while at + 5 <= len(data):
        kind, length = data[at], data[at + 3] << 8 | data[at + 4]
        if kind not in RECORD_TYPES or data[at + 1] != 3 or length > LONGEST_RECORD:
            raise ValueError("not a record of TLS")
        if kind == HANDSHAKE_RECORD:
            collected += data[at + 5 : at + 5 + length]
            if collected and collected[0] != CLIENT_HELLO:
                return None
            if (end := _end_of_hello(collected)) is not None and end <= len(collected):
                return bytes(collected), 4, end
        elif not skip_other_records:
            raise ValueError("another record inside a ClientHello")
        at += 5 + length
        if kind == HANDSHAKE_RECORD and not join_records and at <= len(data):
            raise ValueError("a handshake message split over several records")
    raise NeedMore("a ClientHello cut short")


def _end_of_hello(message: bytearray) -> int | None:
    if len(message) < 4:
        return None
    length = int.from_bytes(message[1:4], "big")
    if length > LONGEST_HELLO:
        raise ValueError("a ClientHello longer than its fields can be")
    return 4 + length


def _extension_block(data: memoryview | bytes, at: int, end: int, *, whole: bool = True) -> tuple[int, int]:
    """Return from where to where the extensions stand; past `end` only where the hello need not be `whole`."""
    for size in (35, 2, 1):
        at += size
        if at > end:
            raise ValueError("a ClientHello field that ends outside")
        at += data[at - 2] << 8 | data[at - 1] if size == 2 else data[at - 1]
    if at == end:
        return end, end
    if at + 2 > end:
        raise ValueError("a ClientHello field that ends outside")
    stop = at + 2 + (data[at] << 8 | data[at + 1])
    if whole and stop > end:
        raise ValueError("a ClientHello field that ends outside")
    return at + 2, stop


def _extensions(data: memoryview | bytes, at: int, stop: int) -> list[Span]:
    found: list[Span] = []
    while at + 4 <= stop:
        kind, length = _PAIR.unpack_from(data, at)
        begin, at = at + 4, at + 4 + length
        found.append((kind, begin, at))
    if at != stop:
        raise ValueError("an extension that ends outside")
    return found


def _names(data: memoryview | bytes, at: int, stop: int) -> tuple[str, ...]:
    """Read the host names of a server_name extension (RFC 6066 §3); names of other types are stepped over."""
    if at == stop:
        return ()
    if at + 2 > stop or at + 2 + (data[at] << 8 | data[at + 1]) > stop:
        raise ValueError("a list of names that ends outside")
    found: list[str] = []
    at, stop = at + 2, at + 2 + (data[at] << 8 | data[at + 1])
    while at < stop:
        begin = at + 3
        if begin > stop or (end := begin + (data[at + 1] << 8 | data[at + 2])) > stop:
            raise ValueError("a server name that ends outside")
        if data[at] == _HOST_NAME:
            found.append(bytes(data[begin:end]).lower().rstrip(b".").decode("latin-1"))
        at = end
    return tuple(found)


def _read(data: memoryview | bytes, at: int, end: int) -> ClientHello:
    spans = _extensions(data, *_extension_block(data, at, end))
    session = at + 35
    cipher_at = session + data[session - 1] + 2
    cipher_bytes = data[cipher_at : cipher_at + (data[cipher_at - 2] << 8 | data[cipher_at - 1])]
    if len(cipher_bytes) % 2:
        raise ValueError("an odd list of cipher suites")
    return hello_of(
        data[at] << 8 | data[at + 1],
        bytes(data[session : cipher_at - 2]),
        _numbers(cipher_bytes),
        [(kind, bytes(data[begin:stop])) for kind, begin, stop in spans],
    )


def hello_of(
    version: int, session_id: bytes, ciphers: tuple[int, ...], extensions: Sequence[tuple[int, bytes]]
) -> ClientHello:
    """Make a ClientHello from its parts, as DTLS has them too; `ValueError` if the list of names is broken."""
    kinds, bodies = tuple(kind for kind, _ in extensions), tuple(body for _, body in extensions)

    def body(kind: int) -> bytes:
        return bodies[kinds.index(kind)] if kind in kinds else b""

    names = _names(body(SERVER_NAME), 0, len(body(SERVER_NAME)))
    return ClientHello(
        version=version,
        sni=names[0] if names else None,
        alpn=read_protocols(body(ALPN)),
        versions=_numbers(body(SUPPORTED_VERSIONS)[1:]),
        extensions=kinds,
        ciphers=ciphers,
        names=names,
        groups=_numbers(body(GROUPS)[2:]),
        point_formats=tuple(body(POINT_FORMATS)[1:]),
        signature_algorithms=_numbers(body(SIGNATURE_ALGORITHMS)[2:]),
        session_id=session_id,
        bodies=bodies,
    )


def _numbers(data: memoryview | bytes) -> tuple[int, ...]:
    count = len(data) // 2
    return struct.unpack(f"!{count}H", data[: 2 * count])


def read_protocols(body: bytes) -> tuple[str, ...]:
    """Read an ALPN extension (RFC 7301 §3.1) as far as it goes."""
    found: list[str] = []
    at = 2
    while at < len(body) and at + 1 + body[at] <= len(body):
        found.append(body[at + 1 : at + 1 + body[at]].decode("latin-1"))
        at += 1 + body[at]
    return tuple(found)
