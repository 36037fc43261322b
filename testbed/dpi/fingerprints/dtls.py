"""DTLS, and two of its users: Snowflake (pion's hello) and AnyConnect (Cisco's and openconnect's).

A hello is recognised anywhere in the opening, since ICE sends STUN first on the same ports (RFC 7983).

Snowflake. It speaks WebRTC through the Go library pion, whose ClientHello has its own suites in its own order and a
record of version 1.2, where browsers and aiortc say 1.0 (MacMillan et al., "Evaluating Snowflake as an
Indistinguishable Censorship Circumvention Tool", 2020; captures). Russia found it in 2021-12 by `supported_groups` in
the ServerHello, which older versions sent (Bocovich et al., USENIX Security 2024). Any program that uses pion looks the
same, so `sureness` says what the label rests on.

AnyConnect. The session was agreed inside TLS, so the first DTLS hello already names it, in a session id without a
cookie: that of the session to resume (Cisco's protocol, whose records have version 0x0100), or an application id beside
nothing but PSK suites (openconnect and ocserv, draft-mavrogiannopoulos-openconnect-02).
"""

from __future__ import annotations

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer
from testbed.wire import dtls as wire

_PION_ORDERS = (
    (0xC02B, 0xC02F, 0xC00A, 0xC014, 0xC02C, 0xC030),
    (0xC02B, 0xC02F, 0xC00A, 0xC014),
)
_SUPPORTED_GROUPS, _USE_SRTP, _SUPPORTED_VERSIONS = 10, 14, 43
_COUNTING_DOWN = frozenset((0xFEFF, 0xFEFD, 0xFEFC))
_CISCO = 0x0100
#: suites of a plain pre-shared key: RFC 4279, 5487, 6655, 7905
_PSK_SUITES = frozenset(
    {*range(0x008A, 0x008E), 0x00A8, 0x00A9, 0x00AE, 0x00AF, 0xC0A4, 0xC0A5, 0xC0A8, 0xC0A9, 0xCCAB}
)
_SCSV = 0x00FF


def dtls(opening: Opening) -> Answer:
    """Recognise a hello, or records of either side where the capture begins late."""
    hello = _client_hello(opening)
    if hello is not None:
        return {
            "version": wire.VERSIONS[_highest(hello)], "record_version": wire.VERSIONS[hello.record_version],
            "ciphers": [f"{suite:04x}" for suite in hello.ciphers], "extensions": list(hello.extension_types),
        }  # fmt: skip
    for packet in opening.packets:
        found = list(wire.records(packet.payload))
        if found and sum(13 + len(record.content) for record in found) == len(packet.payload):
            begun = found[0].type == wire.HANDSHAKE and found[0].epoch == 0 and found[0].content[:1] == b"\x01"
            if not begun and packet.length > 13:
                return {"version": wire.VERSIONS[found[0].version], "record": found[0].type, "epoch": found[0].epoch}
    return UNDECIDED


def _highest(hello: wire.Hello) -> int:
    """Return the newest version a hello offers, which since 1.3 stands in an extension (RFC 9147 §5.3)."""
    listed = dict(hello.extensions).get(_SUPPORTED_VERSIONS, b"")[1:]
    offered = (int.from_bytes(listed[at : at + 2], "big") for at in range(0, len(listed) - 1, 2))
    return min((version for version in offered if version in _COUNTING_DOWN), default=hello.version)


def _client_hello(opening: Opening) -> wire.Hello | None:
    """Return the ClientHello of whichever side sent one: in WebRTC the answerer does (RFC 8842)."""
    for client in (True, False):
        found = wire.client_hello(p.payload for p in opening.of(client) if 20 <= p.payload[0] < 64)
        if found is not None:
            return found
    return None


def _server_hello(opening: Opening) -> wire.Hello | None:
    for client in (False, True):
        found = wire.server_hello(p.payload for p in opening.of(client) if 20 <= p.payload[0] < 64)
        if found is not None:
            return found
    return None


def snowflake(opening: Opening) -> Answer:
    """Recognise pion's ClientHello, or `supported_groups` in the ServerHello."""
    hello = _client_hello(opening)
    if hello is not None and hello.ciphers in _PION_ORDERS and hello.version == hello.record_version == 0xFEFD:
        return {
            "hello": "client", "ciphers": [f"{suite:04x}" for suite in hello.ciphers],
            "extensions": list(hello.extension_types), "sureness": "pion: Snowflake or another program that uses it",
        }  # fmt: skip
    answer = _server_hello(opening)
    if answer is None:
        return UNDECIDED
    kinds = answer.extension_types
    if _SUPPORTED_GROUPS in kinds and _USE_SRTP in kinds:
        return {"hello": "server", "extensions": list(kinds), "sureness": "an older pion, as Russia found it"}
    return None


def anyconnect(opening: Opening) -> Answer:
    """Recognise a hello that names a session made elsewhere: Cisco's version, or PSK suites and a session id."""
    hello = _client_hello(opening)
    if hello is None:
        return UNDECIDED
    if hello.record_version == _CISCO or hello.version == _CISCO:
        return {"session_id": len(hello.session_id), "version": "Cisco"}
    offers_psk = all(suite in _PSK_SUITES for suite in hello.ciphers if suite != _SCSV)
    if not hello.cookie and hello.session_id and (offers_psk or len(hello.ciphers) <= 2):
        return {"session_id": len(hello.session_id), "ciphers": [f"{suite:04x}" for suite in hello.ciphers]}
    return None
