"""Proxies that speak in clear: SOCKS 4, 4a and 5, and HTTP CONNECT.

SOCKS 5: RFC 1928; SOCKS 4 and 4a: the memos of Koblas and Lee. Their requests are few bytes, so the proxy's answer must
agree before a flow is named: a method that was offered, or a reply of eight bytes that begins 00 5a to 00 5d.
HTTP CONNECT: RFC 9110 §9.3.6.
"""

from __future__ import annotations

import ipaddress
import re

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_NO_METHOD = 0xFF
_SOCKS4_HEAD_BYTES, _SOCKS4_REPLY_BYTES = 8, 8
_SOCKS4_REPLIES = range(0x5A, 0x5E)
_CONNECT = re.compile(rb"CONNECT ([A-Za-z0-9.\-_]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5}) HTTP/1\.[01]\r?\n")
_LONGEST_CONNECT_BYTES = 300


def socks5(opening: Opening) -> Answer:
    """Recognise the method negotiation with the proxy's choice; tell the destination if it was shown."""
    asked = opening.client_bytes
    if len(asked) < 2:
        return UNDECIDED if asked == b"\x05" else None
    count = asked[1]
    if asked[0] != 5 or not count:
        return None
    methods, request = asked[2 : 2 + count], asked[2 + count :]
    if len(set(methods)) != len(methods):
        return None
    if len(methods) < count:
        return None if opening.has_from(False) else UNDECIDED
    chosen = opening.server_bytes
    if len(chosen) < 2:
        plausible = not request or request[0] in (1, 5)
        return UNDECIDED if plausible and b"\x05".startswith(chosen) else None
    if chosen[0] != 5 or (chosen[1] not in methods and chosen[1] != _NO_METHOD):
        return None
    found: dict[str, object] = {"methods": list(methods), "chosen": chosen[1]}
    target = _socks5_target(request)
    return {**found, "target": target} if target else found


def _socks5_target(request: bytes) -> str | None:
    """Read `host:port` of a SOCKS 5 request, None if there is none (yet), or an authentication comes first."""
    if len(request) < 7 or request[0] != 5 or request[2] != 0:
        return None
    kind, rest = request[3], request[4:]
    size = {1: 4, 4: 16}.get(kind, rest[0] if kind == 3 else 0)
    host, port = rest[kind == 3 :][:size], rest[(kind == 3) + size :][:2]
    if not size or len(port) < 2:
        return None
    name = host.decode("latin-1") if kind == 3 else str(ipaddress.ip_address(host))
    return f"{name}:{int.from_bytes(port, 'big')}"


def socks4(opening: Opening) -> Answer:
    """Recognise a SOCKS 4 or 4a request that the proxy answers."""
    asked = opening.client_bytes
    if not asked or asked[0] != 4 or asked[1:2] not in (b"", b"\x01", b"\x02"):
        return None
    if len(asked) <= _SOCKS4_HEAD_BYTES:
        return None if opening.has_from(False) else UNDECIDED
    user, ended, rest = asked[_SOCKS4_HEAD_BYTES:].partition(b"\0")
    address, port = asked[4:8], int.from_bytes(asked[2:4], "big")
    by_name = address.startswith(b"\0\0\0") and address[3]
    name, name_ended, _ = rest.partition(b"\0") if by_name else (b"", b"\0", b"")
    if not port or not _is_text(user) or not _is_text(name):
        return None
    reply = opening.server_bytes
    if not ended or not name_ended or not reply:
        return UNDECIDED if not reply else None
    if reply[0] or (len(reply) > 1 and reply[1] not in _SOCKS4_REPLIES):
        return None
    if len(reply) < _SOCKS4_REPLY_BYTES:
        return UNDECIDED
    host = name.decode("latin-1") if by_name else str(ipaddress.ip_address(address))
    return {"command": asked[1], "target": f"{host}:{port}", "variant": "4a" if by_name else "4", "reply": reply[1]}


def _is_text(field: bytes) -> bool:
    return len(field) <= 255 and all(0x20 < byte < 0x7F for byte in field)


def http_connect(opening: Opening) -> Answer:
    """Recognise a CONNECT request for `host:port`."""
    asked = opening.client_bytes
    match = _CONNECT.match(asked)
    if match is not None:
        return {"target": f"{match[1].decode()}:{match[2].decode()}"}
    growing = b"CONNECT ".startswith(asked[:8]) and len(asked) < _LONGEST_CONNECT_BYTES and b"\n" not in asked
    return UNDECIDED if growing and asked else None
