"""The PPP tunnels: PPTP's control connection (RFC 2637) and L2TP's control messages (v2: RFC 2661, v3: RFC 3931)."""

from __future__ import annotations

import struct

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence

_PPTP_COOKIE = bytes.fromhex("1a2b3c4d")
_PPTP_CONTROL = struct.Struct("!HH4sHH")
_PPTP_TYPES = range(1, 16)
_L2TP_CONTROL_BITS = 0xC800
_L2TP_MESSAGES = range(1, 17)
_AVP_BITS = 0x03FF
_ZLB_BYTES = 12


def pptp(opening: Opening) -> Answer:
    """Recognise a control message: length, type 1, the magic cookie 1a2b3c4d, a control type, a zero."""
    for client in (True, False):
        stream = opening.stream(client)
        if len(stream) < _PPTP_CONTROL.size:
            if stream and _may_be_pptp(stream):
                return UNDECIDED
            continue
        length, kind, cookie, control, reserved = _PPTP_CONTROL.unpack_from(stream)
        if kind == 1 and cookie == _PPTP_COOKIE and control in _PPTP_TYPES and not reserved and length <= 256:
            return {"control": control, "length": length, "cookie": _PPTP_COOKIE.hex()}
    return None


def _may_be_pptp(stream: bytes) -> bool:
    return b"\0\x01".startswith(stream[2:4]) and _PPTP_COOKIE.startswith(stream[4:8])


def l2tp(opening: Opening) -> Answer:
    """Recognise a control message, whose length field fits and whose first AVP is the message type, or an empty one."""
    for packet in opening.packets:
        found = _l2tp_control(packet.payload, packet.length)
        if found is not None:
            return found
    return None


def _l2tp_control(payload: bytes, length: int) -> Evidence | None:
    if len(payload) < _ZLB_BYTES + 8:
        return None
    bits, told = struct.unpack_from("!HH", payload)
    version = bits & 0x0F
    if bits & ~0x0F != _L2TP_CONTROL_BITS or version not in (2, 3) or told != length:
        return None
    avp, vendor, attribute, message = struct.unpack_from("!HHHH", payload, _ZLB_BYTES)
    if avp & _AVP_BITS != 8 or vendor or attribute or message not in _L2TP_MESSAGES:
        return None
    return {"version": version, "message": message, "length": length}
