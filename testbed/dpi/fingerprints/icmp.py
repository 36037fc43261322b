"""ICMP tunnels: echo messages that carry more than a ping does. The payload is the whole ICMP message.

Marks of tools: ptunnel's magic d5200880 and ptunnel-ng's deadc0de in the first bytes of the data, or a whole IPv4
packet as the data (icmptunnel). Without a mark: a ping sends data of one size in a pattern, and the answer repeats it
(RFC 792: "the data received in the echo message must be returned"), so an answer whose data differ, or four requests of
several sizes with random-looking data, tell a tunnel (a model of our own; the features are those of Singh et al. 2003,
"Malicious ICMP Tunneling").
"""

from __future__ import annotations

from itertools import pairwise

from testbed.dpi.encrypted import entropy
from testbed.dpi.fingerprints.opening import ICMPV6, Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer

_HEAD_BYTES = 8
_MAGICS = {bytes.fromhex("d5200880"): "ptunnel", bytes.fromhex("deadc0de"): "ptunnel-ng"}
_ECHO = {False: (8, 0), True: (128, 129)}
_SHORTEST_IP_BYTES = 28
_FEWEST_REQUESTS, _FEWEST_SIZES = 4, 3
_RANDOM_SHARE = 0.85
_SMALLEST_RANDOM_BYTES = 32


def icmp_tunnel(opening: Opening) -> Answer:
    """Recognise a tunnel in echo requests and replies."""
    request, reply = _ECHO[opening.proto == ICMPV6]
    asked: dict[bytes, bytes] = {}
    sizes: list[tuple[int, bytes]] = []
    for packet in opening.packets:
        message = packet.payload
        if len(message) < _HEAD_BYTES or message[0] not in (request, reply) or message[1]:
            continue
        key, data = message[4:8], message[_HEAD_BYTES:]
        if data[:4] in _MAGICS:
            return {"tool": _MAGICS[data[:4]], "magic": data[:4].hex()}
        if _is_ipv4(data):
            return {"inside": "IPv4", "bytes": len(data)}
        if message[0] == request:
            asked[key] = data
            sizes.append((packet.length, data))
        elif key in asked and asked[key][: len(data)] != data[: len(asked[key])]:
            return {"answer": "does not repeat the request", "bytes": packet.length - _HEAD_BYTES}
    return _by_sizes(sizes) if sizes else None


def _is_ipv4(data: bytes) -> bool:
    """Say whether data is an IPv4 packet without options, whose length fits."""
    if len(data) < _SHORTEST_IP_BYTES or data[0] != 0x45:
        return False
    return len(data) - int.from_bytes(data[2:4], "big") in range(4) and data[9] in (1, 6, 17)


def _by_sizes(requests: list[tuple[int, bytes]]) -> Answer:
    random = [(length, data) for length, data in requests if _looks_random(data)]
    if len(random) >= _FEWEST_REQUESTS and len({length for length, _ in random}) >= _FEWEST_SIZES:
        return {"requests": len(random), "sizes": sorted({length - _HEAD_BYTES for length, _ in random})}
    return UNDECIDED


def _looks_random(data: bytes) -> bool:
    """Say whether data is near the highest entropy its length allows, and no counting pattern as in iputils' ping."""
    if len(data) < _SMALLEST_RANDOM_BYTES:
        return False
    steps = {(b - a) & 0xFF for a, b in pairwise(data[16:])}
    return len(steps) > 2 and entropy(data) >= _RANDOM_SHARE * min(8.0, len(data).bit_length() - 1)
