"""QUIC's packets and frames as far as they are in clear or in an Initial (RFC 8999, RFC 9000 §17 and §19, RFC 9369 §3).

A datagram may hold several packets. What can't be told without keys of the two ends (Handshake, 0-RTT, short headers)
is told by its header only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

VERSION_1, VERSION_2, DRAFT_29 = 0x00000001, 0x6B3343CF, 0xFF00001D
DRAFTS = tuple(range(DRAFT_29, 0xFF000021))
"""Drafts 29 to 32, which differ in their number only; what Chrome and Facebook spoke before the RFC."""
PADDING, PING, ACK, ACK_ECN, CRYPTO, CONNECTION_CLOSE = 0x00, 0x01, 0x02, 0x03, 0x06, 0x1C
_LONGEST_ID = 20
_TAG = 16


class Kind(Enum):
    """What a packet is, by its header."""

    INITIAL = "initial"
    ZERO_RTT = "0-rtt"
    HANDSHAKE = "handshake"
    RETRY = "retry"
    VERSION_NEGOTIATION = "version negotiation"
    SHORT = "short"
    UNKNOWN = "unknown version"


_V1_KINDS = (Kind.INITIAL, Kind.ZERO_RTT, Kind.HANDSHAKE, Kind.RETRY)
_V2_KINDS = (Kind.RETRY, Kind.INITIAL, Kind.ZERO_RTT, Kind.HANDSHAKE)
_KINDS = {VERSION_1: _V1_KINDS, VERSION_2: _V2_KINDS} | dict.fromkeys(DRAFTS, _V1_KINDS)
KEYED = frozenset(_KINDS)
"""The versions whose Initials can be decrypted."""
_BYTES = {version.to_bytes(4, "big"): kinds.index(Kind.INITIAL) << 4 for version, kinds in _KINDS.items()}
"""Known versions as they stand on the wire → the type bits of their Initials."""
_LONG = frozenset({*_BYTES, bytes(4)})


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a datagram: from `start` to `end`, at `number_at` its (protected) number, or a Retry's tag."""

    kind: Kind
    version: int
    dcid: bytes
    scid: bytes
    token: bytes
    """An Initial's or a Retry's token."""
    versions: tuple[int, ...]
    """What a Version Negotiation offers."""
    start: int
    number_at: int
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of an Initial; a run of PADDING is one frame. `data` and `offset` are those of CRYPTO."""

    kind: int
    offset: int = 0
    data: bytes = b""


def is_long_header(datagram: memoryview | bytes) -> bool:
    """Say whether a datagram begins with a packet of a known version or a Version Negotiation.

    This and `is_initial` are asked for every datagram: they look at five bytes.
    """
    return len(datagram) > 6 and datagram[0] >= 0x80 and bytes(datagram[1:5]) in _LONG


def is_initial(datagram: memoryview | bytes) -> bool:
    """Say whether a datagram begins with an Initial of a known version; the fixed bit may be greased (RFC 9287)."""
    return (
        len(datagram) > 6 and datagram[0] >= 0x80 and _BYTES.get(bytes(datagram[1:5]), -1) == datagram[0] & 0x30
    )  # fmt: skip


def varint(data: memoryview | bytes, at: int, end: int) -> tuple[int, int]:
    """Read a variable-length integer (RFC 9000 §16); return it and the offset behind it."""
    if at >= end:
        raise ValueError("a QUIC field cut short")
    size = 1 << (data[at] >> 6)
    if at + size > end:
        raise ValueError("a QUIC field cut short")
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def packets(datagram: memoryview | bytes) -> Iterator[Packet]:
    """Walk the packets of a datagram; `ValueError` where it goes on with none.

    A Retry, a Version Negotiation, a short header and an unknown version reach to the end of the datagram.
    """
    at = 0
    while at < len(datagram):
        packet = _packet(datagram, at)
        yield packet
        at = packet.end


def _packet(data: memoryview | bytes, start: int) -> Packet:
    end = len(data)
    if data[start] < 0x80:
        return Packet(Kind.SHORT, 0, b"", b"", b"", (), start, start + 1, end)
    if start + 7 > end:
        raise ValueError("a QUIC header cut short")
    version = int.from_bytes(data[start + 1 : start + 5], "big")
    dcid, at = _counted(data, start + 6, data[start + 5], end)
    if at >= end:
        raise ValueError("a QUIC header cut short")
    scid, at = _counted(data, at + 1, data[at], end)
    if version == 0:
        offered = range(at, end - 3, 4)
        listed = tuple(int.from_bytes(data[place : place + 4], "big") for place in offered)
        return Packet(Kind.VERSION_NEGOTIATION, 0, dcid, scid, b"", listed, start, end, end)
    if version not in _KINDS:
        return Packet(Kind.UNKNOWN, version, dcid, scid, b"", (), start, at, end)
    if len(dcid) > _LONGEST_ID or len(scid) > _LONGEST_ID:
        raise ValueError("a QUIC connection ID longer than 20 bytes")
    kind = _KINDS[version][data[start] >> 4 & 3]
    if kind is Kind.RETRY:
        if at + _TAG > end:
            raise ValueError("a Retry cut short")
        return Packet(kind, version, dcid, scid, bytes(data[at : end - _TAG]), (), start, end - _TAG, end)
    token = b""
    if kind is Kind.INITIAL:
        length, at = varint(data, at, end)
        token, at = _counted(data, at, length, end)
    length, at = varint(data, at, end)
    if at + length > end:
        raise ValueError("a QUIC packet longer than its datagram")
    return Packet(kind, version, dcid, scid, token, (), start, at, at + length)


def _counted(data: memoryview | bytes, at: int, length: int, end: int) -> tuple[bytes, int]:
    if at + length > end:
        raise ValueError("a QUIC field cut short")
    return bytes(data[at : at + length]), at + length


def frames(payload: bytes) -> tuple[Frame, ...]:
    """Read the frames of an Initial's payload; `ValueError` for none, a broken one, or one that is not allowed there.

    A server closes the connection on each of these (RFC 9000 §12.4); who went on would see what no server does.
    """
    found: list[Frame] = []
    at, end = 0, len(payload)
    while at < end:
        frame, at = _frame(payload, at, end)
        found.append(frame)
    if not found:
        raise ValueError("a QUIC packet without frames")
    return tuple(found)


def _frame(payload: bytes, at: int, end: int) -> tuple[Frame, int]:
    kind, at = varint(payload, at, end)
    if kind == PADDING:
        return Frame(kind), end - len(payload[at:].lstrip(b"\0"))
    if kind == PING:
        return Frame(kind), at
    if kind in (ACK, ACK_ECN):
        return Frame(kind), _skip_ack(payload, at, end, ecn=kind == ACK_ECN)
    if kind == CRYPTO:
        offset, at = varint(payload, at, end)
        length, at = varint(payload, at, end)
        data, at = _counted(payload, at, length, end)
        return Frame(kind, offset, data), at
    if kind == CONNECTION_CLOSE:
        for _ in range(2):
            _, at = varint(payload, at, end)
        length, at = varint(payload, at, end)
        reason, at = _counted(payload, at, length, end)
        return Frame(kind, 0, reason), at
    raise ValueError(f"a QUIC frame of type {kind:#x} in an Initial")


def _skip_ack(payload: bytes, at: int, end: int, *, ecn: bool) -> int:
    for _ in range(2):
        _, at = varint(payload, at, end)
    ranges, at = varint(payload, at, end)
    if ranges > end - at:
        raise ValueError("an ACK of more ranges than its packet holds")
    for _ in range(1 + 2 * ranges + (3 if ecn else 0)):
        _, at = varint(payload, at, end)
    return at
