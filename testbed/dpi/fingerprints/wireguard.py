"""WireGuard, by its four message types (wireguard.com/protocol, §5.4 of Donenfeld's NDSS 2017 paper).

    type  length        begins            then
    1     148           01 00 00 00       sender index, ephemeral key, …, mac1, mac2
    2     92            02 00 00 00       sender index, receiver index, …
    3     64            03 00 00 00       receiver index, nonce, cookie
    4     32 or more    04 00 00 00       receiver index, 64-bit counter (little endian), ciphertext

One handshake message is enough: four fixed bytes, a fixed length and random keys behind them. Transport data alone, as
in a capture that begins late, needs three messages whose receiver index stays and whose counter rises (nDPI asks for
the first). Amnezia's variant has other types, or junk bytes before the header; with the default header it *is*
WireGuard, also behind junk packets, so every packet is looked at. A handshake whose reserved bytes aren't zero
(Cloudflare WARP) isn't.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from testbed.dpi.fingerprints.counting import in_order
from testbed.dpi.fingerprints.opening import Opening, Shown
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence

_INITIATION, _RESPONSE, _COOKIE, _DATA = 1, 2, 3, 4
_LENGTHS = {_INITIATION: 148, _RESPONSE: 92, _COOKIE: 64}
_RANDOM = {_INITIATION: slice(8, 132), _RESPONSE: slice(12, 76), _COOKIE: slice(8, 64)}
_SHORTEST_DATA_BYTES = 32
_ENOUGH_DATA_PACKETS = 3


def wireguard(opening: Opening) -> Answer:
    """Recognise a handshake, or three transport messages that belong together."""
    data: list[Shown] = []
    for packet in opening.packets:
        payload = packet.payload
        if payload[1:4] != b"\0\0\0":
            continue
        if _is_handshake(packet):
            return _handshake(opening, packet)
        if payload[0] == _DATA and packet.length >= _SHORTEST_DATA_BYTES and len(payload) >= 16:
            data.append(packet)
    return _transport(data) if data else None


def _is_handshake(packet: Shown) -> bool:
    """Say whether a packet has the type and length of a handshake message and keys that look random."""
    kind = packet.payload[0]
    if _LENGTHS.get(kind) != packet.length or len(packet.payload) != packet.length:
        return False
    random = packet.payload[_RANDOM[kind]]
    return len(set(random)) * 2 > len(random)


def _handshake(opening: Opening, packet: Shown) -> Evidence:
    kind = packet.payload[0]
    found: dict[str, object] = {"message": kind, "length": packet.length, "prefix": packet.payload[:4].hex()}
    sender = packet.payload[4:8]
    if kind == _INITIATION and any(_answers(other, sender) for other in opening.of(not packet.from_client)):
        found["answered"] = True
    return found


def _answers(packet: Shown, sender: bytes) -> bool:
    kind, payload = packet.payload[0], packet.payload
    if not _is_handshake(packet):
        return False
    return payload[8:12] == sender if kind == _RESPONSE else kind == _COOKIE and payload[4:8] == sender


def _transport(data: list[Shown]) -> Answer:
    for client in (True, False):
        heads = [struct.unpack_from("<IQ", packet.payload, 4) for packet in data if packet.from_client == client]
        if len(set(heads)) < _ENOUGH_DATA_PACKETS:
            continue
        receivers = {receiver for receiver, _ in heads}
        counters = [counter for _, counter in heads]
        rises = all(later - earlier < 1 << 16 for earlier, later in pairwise(in_order(counters, 64)))
        if len(receivers) > 1 or not rises or counters[0] >> 48:
            return None
        return {"message": _DATA, "packets": len(heads), "receiver": f"{heads[0][0]:08x}", "counter": counters[0]}
    return UNDECIDED
