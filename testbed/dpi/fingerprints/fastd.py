"""fastd, the mesh VPN of community networks, by its handshake (fastd documentation, "Protocol specification").

A handshake begins 01 00, the length of its TLV records (big endian), then the records (type and length little endian),
the first of which is the handshake type: a byte from 1 to 3. The records end with the datagram.
"""

from __future__ import annotations

from testbed.dpi.fingerprints.opening import Opening
from testbed.dpi.fingerprints.recogniser import Answer

_HANDSHAKE_TYPE, _MOST_RECORD_TYPE = 0, 24
_FEWEST_RECORDS = 3


def fastd(opening: Opening) -> Answer:
    """Recognise a handshake."""
    for packet in opening.packets:
        payload = packet.payload
        if not payload.startswith(b"\x01\0") or len(payload) != packet.length:
            continue
        records = _records(payload[4:]) if int.from_bytes(payload[2:4], "big") == packet.length - 4 else None
        if records and len(records) >= _FEWEST_RECORDS and records.get(_HANDSHAKE_TYPE, b"\0") in (b"\1", b"\2", b"\3"):
            return {"handshake": records[_HANDSHAKE_TYPE][0], "records": sorted(records)}
    return None


def _records(data: bytes) -> dict[int, bytes] | None:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        kind, size = (int.from_bytes(data[offset + i : offset + i + 2], "little") for i in (0, 2))
        if kind > _MOST_RECORD_TYPE or kind in found:
            return None
        found[kind] = data[offset + 4 : offset + 4 + size]
        offset += 4 + size
    return found if offset == len(data) else None
