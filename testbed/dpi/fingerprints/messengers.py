"""Messengers and their calls: IMO, WhatsApp, Viber, Telegram, Signal (facts/turkmenistan.md §4, after nDPI's sources).

These are signatures of proprietary protocols, found by others in captures. Where one is weak (a length prefix that
games use too) both sides must agree, or the service's known ports are part of it; the evidence says so.
"""

from __future__ import annotations

import zlib

from testbed.dpi.fingerprints import stun
from testbed.dpi.fingerprints.opening import TCP, Opening, Shown
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence
from testbed.wire import tls

_IMO_PREFIXES = {10: b"\x09\x02", 11: b"\x00\x09\x03", 1099: b"\x88\x49\x1a\x00"}
_NAT_KEEPALIVE = b"\xff"
_WHATSAPP_PREAMBLE = b"\x45\x44\x00\x01"
_WHATSAPP_OLDEST = b"WA\x01\x05"
_WHATSAPP_ATTRIBUTES = frozenset(range(0x4000, 0x4008))
_WHATSAPP_TYPES = frozenset({0x0800, 0x0801, 0x0802, 0x0803, 0x0804, 0x0805})
_VIBER_TCP_PORTS = frozenset({80, 443, 4244, 4245, 5242, 5243})
_VIBER_UDP_PORTS = frozenset({5242, 5243, 7985, 7987})
_VIBER_MESSAGES = {12: b"\x03\x00", 20: b"\x09\x00"}
_REQ_PQ = frozenset({bytes.fromhex("f18e7ebe"), bytes.fromhex("78974660")})
_REFLECTOR_MARK = b"\xff" * 12
_REFLECTOR_REQUESTS = frozenset({b"\xfe\xff\xff\xff", b"\xff" * 4})
_LONG_FRAME, _LONGEST_FRAME_HEAD = 0x7F, 4
_TELEGRAM_STUN_PORT = 1400
_SIGNAL_DOMAINS = (".signal.org", ".whispersystems.org")


def imo(opening: Opening) -> Answer:
    """Recognise IMO's control and media packets: two equal single bytes, or a length with its prefix."""
    before: bytes | None = None
    for packet in opening.packets:
        prefix = _IMO_PREFIXES.get(packet.length)
        if prefix is not None and packet.payload.startswith(prefix):
            return {"length": packet.length, "prefix": prefix.hex()}
        single = packet.payload if packet.length == 1 and packet.payload != _NAT_KEEPALIVE else None
        if single is not None and single == before:
            return {"length": 1, "twice": single.hex()}
        before = single
    return UNDECIDED


def whatsapp(opening: Opening) -> Answer:
    """Recognise the preamble of the messenger's TCP stream, or the STUN of its calls."""
    if opening.proto != TCP:
        return _whatsapp_call(opening)
    stream = opening.client_bytes
    if stream.startswith(_WHATSAPP_PREAMBLE):
        return {"preamble": stream[:8].hex()}
    if len(stream) < 7:
        return UNDECIDED if stream and (b"WA".startswith(stream[:2]) or _WHATSAPP_PREAMBLE.startswith(stream)) else None
    if stream.startswith(_WHATSAPP_OLDEST) or (stream.startswith(b"WA") and max(stream[2:4]) <= 0x20 and not stream[4]):
        return {"preamble": stream[:4].hex()}
    return None


def _whatsapp_call(opening: Opening) -> Answer:
    waiting = False
    for message in stun.messages(opening):
        waiting = True
        known = [number for number, _ in message.attributes if number in _WHATSAPP_ATTRIBUTES]
        if message.type in _WHATSAPP_TYPES or (known and message.magic):
            return {"call": True, "type": f"{message.type:04x}", "attributes": [f"{number:04x}" for number in known]}
    return UNDECIDED if waiting else None


def viber(opening: Opening) -> Answer:
    """Recognise messages that begin with their own length, on both sides and on Viber's ports; or its calls."""
    if opening.proto != TCP:
        if _VIBER_UDP_PORTS.isdisjoint((opening.client_port, opening.server_port)):
            return None
        for packet in opening.packets:
            if packet.payload[2:4] == _VIBER_MESSAGES.get(packet.length):
                return {"call": True, "length": packet.length, "port": opening.server_port}
        return UNDECIDED
    asked, answered = opening.first(True), opening.first(False)
    if asked is None or opening.server_port not in _VIBER_TCP_PORTS or not _has_own_length(asked):
        return None
    if answered is None:
        return UNDECIDED
    if not _has_own_length(answered):
        return None
    return {"lengths": [asked.length, answered.length], "port": opening.server_port}


def _has_own_length(packet: Shown) -> bool:
    return packet.length > 11 and int.from_bytes(packet.payload[:2], "little") == packet.length


def telegram(opening: Opening) -> Answer:
    """Recognise MTProto's transports in clear, the pings of call reflectors, and STUN to port 1400.

    Transports: core.telegram.org/mtproto/mtproto-transports. The obfuscated one is random: it looks fully encrypted.
    """
    return _mtproto(opening) if opening.proto == TCP else _telegram_call(opening)


def _mtproto(opening: Opening) -> Answer:
    stream = opening.client_bytes
    if stream[1:8] == bytes(7) and stream[0]:
        return _full(stream[: stream[0]]) if len(stream) >= stream[0] else UNDECIDED
    if stream[:1] == b"\xef":
        return _framed(opening, stream[1:], "abridged")
    for marker, name in ((b"\xee" * 4, "intermediate"), (b"\xdd" * 4, "padded intermediate")):
        if stream.startswith(marker):
            return _framed(opening, stream[4:], name)
        if stream and marker.startswith(stream):
            return UNDECIDED
    return None


def _full(frame: bytes) -> Answer:
    """Judge the first frame of the full transport: length, number 0, a key exchange in clear, a checksum."""
    right = zlib.crc32(frame[:-4]) == int.from_bytes(frame[-4:], "little")
    if right and frame[8:16] == bytes(8) and frame[28:32] in _REQ_PQ:
        return {"transport": "full", "key_exchange": True}
    return None


def _framed(opening: Opening, rest: bytes, transport: str) -> Answer:
    """Judge the first frames of both sides: a key exchange in clear, or frames that end with the packets."""
    if not rest:
        return UNDECIDED
    frames, whole = _frames(rest, transport)
    if not frames:
        return UNDECIDED if len(rest) < _LONGEST_FRAME_HEAD else None
    if frames[0][:8] == bytes(8) and frames[0][20:24] in _REQ_PQ:
        return {"transport": transport, "key_exchange": True}
    if not whole:
        return UNDECIDED if not opening.has_from(False) else None
    answer = opening.server_bytes
    if not answer:
        return UNDECIDED
    answered, answered_whole = _frames(answer, transport)
    if not answered or not answered_whole:
        return None if opening.full else UNDECIDED
    return {"transport": transport, "frames": [len(frames[0]), len(answered[0])]}


def _frames(stream: bytes, transport: str) -> tuple[list[bytes], bool]:
    """Return the frames that a stream begins with, and whether it ends with the last of them."""
    found: list[bytes] = []
    while stream:
        if transport != "abridged":
            size, head = int.from_bytes(stream[:4], "little"), 4
        elif stream[0] == _LONG_FRAME:
            size, head = 4 * int.from_bytes(stream[1:4], "little"), 4
        else:
            size, head = 4 * stream[0], 1
        if not 4 <= size < 1 << 24 or len(stream) < head + size:
            break
        found.append(stream[head : head + size])
        stream = stream[head + size :]
    return found, not stream


def _telegram_call(opening: Opening) -> Answer:
    """Recognise libtgvoip's reflector pings: a 16-byte tag, twelve ff, then fe or ff ff ff ff."""
    for packet in opening.packets:
        payload = packet.payload
        if payload[16:28] == _REFLECTOR_MARK and payload[28:32] in _REFLECTOR_REQUESTS and len(set(payload[:16])) > 4:
            return {"call": True, "reflector_tag": payload[:16].hex()}
    if opening.server_port == _TELEGRAM_STUN_PORT and next(stun.messages(opening), None) is not None:
        return {"call": True, "stun_port": _TELEGRAM_STUN_PORT}
    return None


def signal(opening: Opening) -> Answer:
    """Recognise Signal's servers by the name in the ClientHello: its messages are inside TLS."""
    stream = opening.client_bytes
    if stream[:1] != b"\x16":
        return None
    try:
        hello = tls.client_hello(stream)
    except tls.NeedMore:
        return UNDECIDED
    except ValueError:
        return None
    return _signal_name(hello.sni) if hello and hello.sni else None


def _signal_name(name: str) -> Evidence | None:
    return {"sni": name} if f".{name}".endswith(_SIGNAL_DOMAINS) else None
