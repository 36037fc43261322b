"""Windows' remote desktop, RDP (MS-RDPBCGR §2.2.1.1 over TPKT, RFC 1006), and file sharing, SMB (MS-CIFS, MS-SMB2)."""

from __future__ import annotations

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_CONNECTION_REQUEST = 0xE0
_COOKIE = b"Cookie: mstshash="
_NEGOTIATION = b"\x01\0\x08\0"
_TPKT_HEAD_BYTES = 11
_SMB = (b"\xffSMB", b"\xfeSMB", b"\xfdSMB")


def rdp(opening: Opening) -> Answer:
    """Recognise the X.224 connection request with a cookie or a negotiation request."""
    stream = opening.client_bytes
    if len(stream) < _TPKT_HEAD_BYTES:
        return UNDECIDED if stream and b"\x03\0\0".startswith(stream[:3]) else None
    length = int.from_bytes(stream[2:4], "big")
    if not stream.startswith(b"\x03\0") or stream[5] != _CONNECTION_REQUEST or stream[4] != length - 5:
        return None
    rest = stream[_TPKT_HEAD_BYTES:length]
    negotiates = rest[-8:].startswith(_NEGOTIATION)
    if not negotiates and not rest.startswith(_COOKIE):
        return None
    return {"cookie": rest.startswith(_COOKIE), "negotiates": negotiates}


def smb(opening: Opening) -> Answer:
    """Recognise SMB 1, 2 or 3 behind a NetBIOS session header."""
    for client in (True, False):
        stream = opening.stream(client)
        if len(stream) >= 8 and stream[0] == 0 and stream[4:8] in _SMB:
            return {"dialect": {0xFF: 1, 0xFE: 2, 0xFD: 3}[stream[4]]}
    return None
