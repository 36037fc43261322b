"""OpenVPN in TLS mode over UDP and TCP: plain, tls-auth, tls-crypt and tls-crypt-v2.

Source: OpenVPN's protocol description (ssl_pkt.h, tls_crypt.h; doc "openvpn-wire-protocol"); Xue et al., "OpenVPN is
Open to VPN Fingerprinting", USENIX Security 2022, whose opcode filter asks for a client reset, a server reset and then
other opcodes. The first byte is opcode << 3 | key id; over TCP a 16-bit length precedes each packet.

    client reset        first bytes after opcode and session id                     length
    plain               00 00000000 (no acks, packet 0)                             14
    tls-auth            HMAC (16 to 64), id 1, time, 00 00000000                    22 + HMAC
    tls-crypt           id 1 (0f000001 since 2.6), time, HMAC 32, 5 encrypted       54
    tls-crypt-v2        as before, then the wrapped key, its length last            54 + wrapped key

The id and the time (seconds since 1970) of the wrapped forms lie in clear, so each form is known by its first packet
alone. A reset with an HMAC that fits none of them is known by the server's, which repeats the client's session id. A
capture that begins late shows data packets only: opcode 6, or 9 and a peer id that stays; then either a packet number
in clear that counts up (AEAD), or a random-looking HMAC and lengths of whole cipher blocks (CBC, HMAC of SHA1). It
takes six of them in a row to say so.

The XOR patch ("scramble") hides the bytes but no length, and maps each opcode to one first byte, as Xue et al. noticed:
so a handshake is known by its lengths and by first bytes that come when opcodes would (UDP; needs about ten packets).
Static-key mode has no opcodes: it looks fully encrypted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import dropwhile, pairwise

from testbed.dpi import encrypted
from testbed.dpi.fingerprints.counting import in_order
from testbed.dpi.fingerprints.opening import TCP, Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer, Evidence

_CLIENT_RESETS = {1: "hard reset 1", 7: "hard reset 2", 10: "hard reset 3"}
_SERVER_RESETS = {1: 2, 7: 8, 10: 8}
_FOLLOWING = frozenset({4, 5, 6, 9, 11})
_HMAC_BYTES = (16, 20, 28, 32, 48, 64)
_WRAPPED_IDS = frozenset({1, 0x0F000001})
_CRYPT_RESET_BYTES = 54
_SHORTEST_RESET_BYTES, _LONGEST_RESET_BYTES = 14, 1400
_OLDEST_TIME, _NEWEST_TIME = 0x38000000, 0xF0000000
_NO_ACKS_PACKET_0 = bytes(5)
_RESET_LENGTHS = frozenset({_SHORTEST_RESET_BYTES, *(22 + size for size in _HMAC_BYTES)})
_ECHO_BYTES = 12
"""What the server's reset has more than the client's: one acknowledged number and the client's session id."""
_ACK_BYTES = range(8, 40, 4)
"""What a bare acknowledgement of one to eight packets has more than a reset."""
_ENOUGH_LATER, _MOST_KINDS, _LONG_CONTROL_BYTES = 7, 4, 150
_DATA = {6: 1, 9: 4}
"""Data opcodes and the length of their header: opcode and, in version 2, the peer id."""
_ENOUGH_DATA_PACKETS = 6
_MOST_AHEAD = 16
_SHORTEST_DATA_BYTES = 30
_CIPHER_BLOCK_BYTES, _SHA1_BYTES = 8, 20


def openvpn(opening: Opening) -> Answer:
    """Recognise the client's reset, or a reset that the server answers with the same session id."""
    if opening.proto == TCP and opening.client_bytes[:1] > b"\x05":
        return None
    messages = list(_messages(opening))
    if not messages:
        return UNDECIDED if opening.proto == TCP and _may_grow(opening) else None
    from_client, first = messages[0]
    opcode, key_id = first[0] >> 3, first[0] & 7
    asked = [message for side, message in messages if side == from_client]
    answers = [message for side, message in messages if side != from_client]
    data = _data(messages) if opcode in _DATA else None
    if data is not None:
        return data
    if opcode not in _CLIENT_RESETS or key_id or not _SHORTEST_RESET_BYTES <= len(first) <= _LONGEST_RESET_BYTES:
        return _scrambled(asked, answers)
    mode = _mode(opcode, first)
    return _answered(opcode, first, answers) if mode is None else _found(opcode, first, mode)


def _found(opcode: int, reset: bytes, mode: str) -> Evidence:
    return {"opcode": opcode, "message": _CLIENT_RESETS[opcode], "length": len(reset), "mode": mode,
            "prefix": reset[:9].hex()}  # fmt: skip


def _messages(opening: Opening) -> Iterator[tuple[bool, bytes]]:
    """Yield (from the client?, message): datagrams, or the whole records of both streams."""
    if opening.proto != TCP:
        yield from ((packet.from_client, packet.payload) for packet in opening.packets)
        return
    for client in (True, False):
        stream, offset = opening.stream(client), 0
        while offset + 3 <= len(stream):
            length = int.from_bytes(stream[offset : offset + 2], "big")
            if not 0 < length <= len(stream) - offset - 2:
                break
            yield client, stream[offset + 2 : offset + 2 + length]
            offset += 2 + length


def _may_grow(opening: Opening) -> bool:
    """Say whether the client's stream may still become a reset: its length or its opcode isn't there yet."""
    stream = opening.client_bytes
    if not stream:
        return False
    if len(stream) < 3:
        return stream[0] <= _LONGEST_RESET_BYTES >> 8
    length = int.from_bytes(stream[:2], "big")
    return _SHORTEST_RESET_BYTES <= length <= _LONGEST_RESET_BYTES and stream[2] in (0x08, 0x38, 0x50)


def _mode(opcode: int, reset: bytes) -> str | None:
    """Name the form of a client reset, None if it has none of the four."""
    size = len(reset)
    if opcode == 10:
        wrapped = int.from_bytes(reset[-2:], "big")
        return "tls-crypt-v2" if size == _CRYPT_RESET_BYTES + wrapped and _is_stamp(reset, 9) else None
    if size == _SHORTEST_RESET_BYTES and reset.endswith(_NO_ACKS_PACKET_0):
        return "plain"
    if size == _CRYPT_RESET_BYTES and _is_stamp(reset, 9):
        return "tls-crypt"
    if size - 22 in _HMAC_BYTES and reset.endswith(_NO_ACKS_PACKET_0) and _is_stamp(reset, size - 13):
        return "tls-auth"
    return None


def _scrambled(asked: list[bytes], answers: list[bytes]) -> Answer:
    """Judge a handshake under the XOR patch by what it leaves as it is: the lengths, and one first byte per opcode.

    Both resets have theirs and come first only; of the others one is that of acknowledgements, all of whose lengths
    fit, and one that of the control packets.
    """
    reset = asked[0]
    size = len(reset)
    if size not in _RESET_LENGTHS:
        return None
    if not answers:
        return UNDECIDED
    if len(answers[0]) != size + _ECHO_BYTES or answers[0][0] == reset[0]:
        return None
    resets = (reset[0], answers[0][0])
    later = [*dropwhile(lambda m: m[0] == resets[0], asked), *dropwhile(lambda m: m[0] == resets[1], answers)]
    kinds = {message[0]: [len(one) for one in later if one[0] == message[0]] for message in later}
    if kinds.keys() & set(resets) or len(kinds) > _MOST_KINDS:
        return None
    acks = [
        first for first, sizes in kinds.items() if len(sizes) > 1 and all(one - size in _ACK_BYTES for one in sizes)
    ]
    hellos = [first for first, sizes in kinds.items() if sum(one >= _LONG_CONTROL_BYTES for one in sizes) > 1]
    if len(later) < _ENOUGH_LATER or len(acks) != 1 or len(hellos) != 1:
        return UNDECIDED
    return {"message": "handshake", "length": size, "mode": "scrambled", "first_bytes": len(kinds) + 2}


def _data(messages: list[tuple[bool, bytes]]) -> Answer:
    """Judge data packets: one header a side, then packet numbers that count up, or whole blocks behind an HMAC."""
    head = _DATA[messages[0][1][0] >> 3]
    if any(message[0] != messages[0][1][0] or len(message) < _SHORTEST_DATA_BYTES for _, message in messages):
        return None
    found: Answer = UNDECIDED
    for client in (True, False):
        own = list(dict.fromkeys(message for side, message in messages if side == client))
        if len(own) < _ENOUGH_DATA_PACKETS:
            continue
        cipher = _cipher(own, head) if len({message[:head] for message in own}) == 1 else None
        if cipher is None:
            return None
        found = {"opcode": own[0][0] >> 3, "message": "data", "packets": len(own), "mode": cipher}
    return found


def _cipher(packets: list[bytes], head: int) -> str | None:
    """Name what stands behind the headers of data packets, None if it isn't OpenVPN's."""
    numbers = [int.from_bytes(packet[head : head + 4], "big") for packet in packets]
    random = encrypted.looks_random(b"".join(packet[head + 4 :] for packet in packets))
    if len(set(numbers)) == len(numbers) and all(b - a <= _MOST_AHEAD for a, b in pairwise(in_order(numbers, 32))):
        whole_words = all(len(packet) % 4 == 0 for packet in packets)
        return "AEAD" if random and not whole_words else None
    lengths = {(len(packet) - head - _SHA1_BYTES) % _CIPHER_BLOCK_BYTES for packet in packets}
    varied = len({packet[head] for packet in packets}) > 2 and len({len(packet) for packet in packets}) > 1
    return "CBC" if lengths == {0} and random and varied else None


def _is_stamp(reset: bytes, offset: int) -> bool:
    """Say whether a replay stamp stands at `offset`: the first packet's number and a time of this age."""
    number, seconds = struct.unpack_from("!II", reset, offset)
    return number in _WRAPPED_IDS and _OLDEST_TIME <= seconds <= _NEWEST_TIME


def _answered(opcode: int, reset: bytes, answers: list[bytes]) -> Answer:
    """Look for the client's session id in the server's reset, and for the opcodes that must follow."""
    if not answers:
        return UNDECIDED
    first, session = answers[0], reset[1:9]
    if first[0] != _SERVER_RESETS[opcode] << 3 or len(first) < _SHORTEST_RESET_BYTES:
        return None
    if session in first[9:] and all(message[0] >> 3 in _FOLLOWING for message in answers[1:] if message[0] != first[0]):
        return {**_found(opcode, reset, "unknown HMAC"), "answer": first[0] >> 3}
    return None
