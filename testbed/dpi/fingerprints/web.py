"""The Web's own protocols, told by their first bytes: HTTP/1 and 2, TLS, QUIC.

They are recognised so that a rule can ask for them, or for all but them (Iran's protocol filter of 2020 lets only DNS,
HTTP and TLS pass). Names inside them are the business of `testbed.wire`. HTTP/1: RFC 9112; HTTP/2's preface: RFC 9113
§3.4; TLS: RFC 8446 §5.1; QUIC's invariants: RFC 8999, versions: RFC 9000, 9369, drafts and Google's Q0xx.
"""

from __future__ import annotations

import re

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence
from testbed.wire import tls as wire_tls

_METHODS = (
    b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PROPFIND ",
    b"PROPPATCH ", b"MKCOL ", b"REPORT ", b"MOVE ", b"COPY ", b"LOCK ", b"UNLOCK ", b"SEARCH ", b"PRI ",
)  # fmt: skip
_LONGEST_METHOD_BYTES = max(map(len, _METHODS))
_REQUEST = re.compile(rb"([A-Z]{3,10}) ([^ \r\n]+) (HTTP/[12]\.[01])\r?\n")
_BEGUN_LINE = re.compile(rb"([A-Z]{3,10}) ((?:[/*]|https?://)?)[\x20-\x7e]*\r?")
_LONGEST_VAGUE_LINE = 300
_RESPONSE = re.compile(rb"HTTP/1\.[01] [1-5]\d\d")
_LONGEST_RECORD_BYTES = 16384 + 2048
_HANDSHAKE_FIRST = {True: 1, False: 2}
_ALERT, _HANDSHAKE = 21, 22
_QUIC_V1, _QUIC_V2 = 1, 0x6B3343CF
_LONGEST_CONNECTION_ID, _SHORTEST_FIRST_ID = 20, 8
_SHORTEST_QUIC_BYTES, _SHORTEST_INITIAL_BYTES = 21, 1200


def http(opening: Opening) -> Answer:
    """Recognise a request line, its beginning in the first packet, or a response line."""
    asked = opening.client_bytes
    if asked.startswith(_METHODS):
        match = _REQUEST.match(asked)
        if match is not None:
            return {"method": match[1].decode(), "version": match[3].decode()}
        return _begun_request(asked) if b"\n" not in asked else None
    answered = opening.server_bytes
    if not asked and _RESPONSE.match(answered):
        return {"method": None, "version": answered[:8].decode()}
    short = len(asked) < _LONGEST_METHOD_BYTES and any(method.startswith(asked) for method in _METHODS)
    return UNDECIDED if asked and short else None


def _begun_request(line: bytes) -> Answer:
    """Judge a request line whose end isn't there yet: a path or a URL that begins is enough."""
    begun = _BEGUN_LINE.fullmatch(line)
    if begun is None:
        return None
    if begun[2]:
        return {"method": begun[1].decode(), "version": None}
    return UNDECIDED if len(line) < _LONGEST_VAGUE_LINE else None


def tls(opening: Opening) -> Answer:
    """Recognise a ClientHello, or a ServerHello where the capture begins with it."""
    for client in (True, False):
        stream = opening.stream(client)
        if not stream:
            continue
        if stream[0] != _HANDSHAKE or stream[1:2] not in (b"", b"\x03"):
            return None
        if len(stream) < 6:
            return UNDECIDED
        length = int.from_bytes(stream[3:5], "big")
        right = stream[2] <= 4 and 0 < length <= _LONGEST_RECORD_BYTES
        if not right or stream[5] not in _HANDSHAKE_FIRST.values():
            return None
        name = wire_tls.sni_of_beginning(stream) if stream[5] == 1 else None
        return {"record_version": stream[1:3].hex(), "handshake": stream[5], "sni": name}
    return None


def quic(opening: Opening) -> Answer:
    """Recognise a long header of a known version (IETF's, or Google's Q0xx), or a version negotiation."""
    for packet in opening.packets:
        found = _long_header(packet.payload, packet.length)
        if found is not None:
            return found
    return None


def _long_header(payload: bytes, length: int) -> Evidence | None:
    if len(payload) < _SHORTEST_QUIC_BYTES:
        return None
    if payload[0] < 0x40:
        return _google_header(payload)
    version = int.from_bytes(payload[1:5], "big")
    if payload[0] < 0x80 or not _is_version(version, payload[0]):
        return None
    if payload[1:2] == b"Q":
        return {"version": payload[1:5].decode("latin-1"), "length": length}
    target = payload[5]
    source = payload[6 + target] if 6 + target < len(payload) else 255
    if target > _LONGEST_CONNECTION_ID or source > _LONGEST_CONNECTION_ID:
        return None
    if version == 0:
        listed = payload[7 + target + source :]
        known = [int.from_bytes(listed[i : i + 4], "big") for i in range(0, len(listed), 4)]
        right = (
            len(listed) % 4 == 0
            and source >= _SHORTEST_FIRST_ID
            and any(_is_version(one, 0xC0) for one in known if one)
        )
        return {"version": "negotiation", "length": length} if right else None
    return {"version": f"{version:08x}", "length": length, "connection_ids": [target, source]}


def _is_version(version: int, first: int) -> bool:
    if version in (_QUIC_V1, _QUIC_V2) or version >> 8 == 0xFF0000 or version >> 4 == 0xFACEB00:
        return bool(first & 0x40)
    greased = version & 0x0F0F0F0F == 0x0A0A0A0A
    return greased or version == 0 or _is_google(version)


def _is_google(version: int) -> bool:
    text = version.to_bytes(4, "big")
    return text[:1] in b"QT" and text[1:].isdigit()


def _google_header(payload: bytes) -> Evidence | None:
    """Read the public header before Q044: flags with a version, an eight-byte connection id, the version."""
    flags, version = payload[0], payload[9:13]
    if flags & 0x09 != 0x09 or not _is_google(int.from_bytes(version, "big")) or version[1:2] != b"0":
        return None
    return {"version": version.decode(), "length": len(payload)}
