"""BitTorrent: the handshake (BEP 3), trackers (BEP 3, 15), the DHT (BEP 5), local discovery (BEP 14), uTP (BEP 29).

A handshake under message stream encryption is random by design: it looks fully encrypted.
"""

from __future__ import annotations

import re
import struct

from testbed.dpi.fingerprints.opening import TCP, Opening, Shown
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_HANDSHAKE = b"\x13BitTorrent protocol"
_TRACKER_CONNECT = bytes.fromhex("0000041727101980") + bytes(4)
_ANNOUNCE = re.compile(rb"GET /[^ ]*[?&]info_hash=[^ ]{20,60}")
_DHT = re.compile(rb"d(?:1:[aerq]|2:ip)")
_DHT_KIND = re.compile(rb"1:y1:([qre])")
_LOCAL = b"BT-SEARCH * HTTP/1.1\r\n"
_UTP = struct.Struct("!BBHIIIHH")
_UTP_SYN, _UTP_STATE = 0x41, 0x21


def bittorrent(opening: Opening) -> Answer:
    """Recognise a peer, a tracker or the DHT."""
    if opening.proto == TCP:
        return _of_stream(opening)
    for packet in opening.packets:
        payload = packet.payload
        kind = _DHT_KIND.search(payload) if _DHT.match(payload) else None
        if kind is not None:
            return {"part": "dht", "message": kind[1].decode()}
        if payload.startswith(_TRACKER_CONNECT) and packet.length == 16:
            return {"part": "udp tracker"}
        if payload.startswith(_LOCAL):
            return {"part": "local discovery"}
    return _utp(opening)


def _of_stream(opening: Opening) -> Answer:
    waiting = False
    for client in (True, False):
        stream = opening.stream(client)
        if stream.startswith(_HANDSHAKE):
            return {"part": "handshake", "info_hash": stream[28:48].hex() if len(stream) >= 48 else None}
        if stream and _HANDSHAKE.startswith(stream):
            waiting = True
    if _ANNOUNCE.match(opening.client_bytes):
        return {"part": "http tracker"}
    asked = opening.client_bytes
    line_open = asked and b"GET /".startswith(asked[:5]) and b"\n" not in asked
    return UNDECIDED if waiting or line_open else None


def _utp(opening: Opening) -> Answer:
    """Recognise uTP by a SYN and the state packet that acknowledges it, or by the handshake in its data."""
    syns = [(packet.from_client, syn) for packet in opening.packets if (syn := _syn(packet)) is not None]
    for packet in opening.packets:
        if _HANDSHAKE in packet.payload[20:64] and packet.payload[0] == 0x01:
            return {"part": "utp", "handshake": True}
        for side, (connection, number) in syns:
            if packet.from_client != side and packet.length >= _UTP.size and packet.payload[0] == _UTP_STATE:
                _, _, back, *_, acknowledged = _UTP.unpack_from(packet.payload)
                if (back, acknowledged) == (connection, number):
                    return {"part": "utp", "connection": connection}
    return UNDECIDED if syns else None


def _syn(packet: Shown) -> tuple[int, int] | None:
    """Return the connection id and the sequence number of a uTP SYN."""
    if packet.length < _UTP.size or len(packet.payload) < _UTP.size or packet.payload[0] != _UTP_SYN:
        return None
    _, extension, connection, stamp, difference, window, number, _ = _UTP.unpack_from(packet.payload)
    right = extension <= 2 and stamp and not difference and window and (packet.length == _UTP.size or extension)
    return (connection, number) if right else None
