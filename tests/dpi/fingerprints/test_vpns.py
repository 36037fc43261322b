"""VPN handshakes built by their specifications, and what must not pass for one."""

from __future__ import annotations

import random
import struct

import pytest

from testbed.dpi.fingerprints import PROTOCOLS, UNDECIDED, Opening, recognise
from tests.dpi.fingerprints.flows import CAPTURES, of_capture, tcp_flow, udp_flow

KEY = random.Random(4).randbytes(4096)
SESSION, OTHER = KEY[:8], KEY[8:16]
STAMP = struct.pack("!II", 1, 1_700_000_000)
INITIATION = b"\x01\0\0\0" + KEY[:128] + bytes(16)
RESPONSE = b"\x02\0\0\0" + KEY[200:204] + KEY[:4] + KEY[204:268] + bytes(16)


def data(receiver: bytes, counter: int, size: int = 80) -> bytes:
    return b"\x04\0\0\0" + receiver + struct.pack("<Q", counter) + KEY[:size]


@pytest.mark.parametrize("port", [51820, 53, 443])
def test_wireguard_by_its_initiation(port: int) -> None:
    found = recognise(udp_flow((">", INITIATION), port=port))
    assert found is not None
    assert (found.protocol, found.evidence["message"]) == ("wireguard", 1)


def test_wireguard_behind_junk_packets_with_default_headers() -> None:
    assert PROTOCOLS["wireguard"](udp_flow((">", KEY[:70]), (">", KEY[9:300]), (">", INITIATION)))


def test_wireguard_names_the_answer() -> None:
    evidence = PROTOCOLS["wireguard"](udp_flow((">", INITIATION), ("<", RESPONSE)))
    assert evidence == {"message": 1, "length": 148, "prefix": "01000000", "answered": True}


def test_wireguard_from_the_middle() -> None:
    lines = [(">", data(KEY[:4], number)) for number in (700, 701, 703)]
    assert PROTOCOLS["wireguard"](udp_flow(*lines[:2])) is UNDECIDED
    assert PROTOCOLS["wireguard"](udp_flow(*lines)) == {
        "message": 4, "packets": 3, "receiver": f"{int.from_bytes(KEY[:4], 'little'):08x}", "counter": 700,
    }  # fmt: skip


@pytest.mark.parametrize(
    "flow",
    [
        udp_flow((">", b"\x05\0\0\0" + INITIATION[4:])),  # Amnezia: other header
        udp_flow((">", KEY[:15] + INITIATION)),  # Amnezia: junk in front
        udp_flow((">", b"\x01\x9a\xb8\x01" + INITIATION[4:])),  # Cloudflare WARP
        udp_flow((">", INITIATION + b"\0")),
        udp_flow((">", b"\x01\0\0\0" + bytes(144))),  # no keys
        udp_flow(*[(">", data(KEY[:4], 5)) for _ in range(3)]),  # the counter stands
        udp_flow(*[(">", data(KEY[n : n + 4], n)) for n in range(1, 4)]),  # other receivers
        tcp_flow((">", INITIATION)),
    ],
)
def test_what_is_not_wireguard(flow: Opening) -> None:
    found = recognise(flow)
    assert found is None or found.protocol != "wireguard"


CLIENT_RESETS = {
    "plain": b"\x38" + SESSION + bytes(5),
    "tls-auth": b"\x38" + SESSION + KEY[20:40] + STAMP + bytes(5),
    "tls-crypt": b"\x38" + SESSION + STAMP + KEY[20:57],
    "tls-crypt-v2": b"\x50" + SESSION + STAMP + KEY[20:57] + KEY[60:357] + struct.pack("!H", 299),
}


@pytest.mark.parametrize("mode", CLIENT_RESETS)
def test_openvpn_by_its_first_packet(mode: str) -> None:
    reset = CLIENT_RESETS[mode]
    evidence = PROTOCOLS["openvpn"](udp_flow((">", reset)))
    assert isinstance(evidence, dict)
    assert (evidence["mode"], evidence["length"]) == (mode, len(reset))
    framed = struct.pack("!H", len(reset)) + reset
    assert PROTOCOLS["openvpn"](tcp_flow((">", framed))) == evidence
    assert PROTOCOLS["openvpn"](tcp_flow(*((">", framed[i : i + 1]) for i in range(2)))) is UNDECIDED
    assert PROTOCOLS["openvpn"](tcp_flow((">", framed[:9]), (">", framed[9:]))) == evidence


@pytest.mark.parametrize("size", [16, 20, 28, 32, 48, 64])
def test_openvpn_with_any_digest(size: int) -> None:
    evidence = PROTOCOLS["openvpn"](udp_flow((">", b"\x38" + SESSION + KEY[20 : 20 + size] + STAMP + bytes(5))))
    assert isinstance(evidence, dict)
    assert evidence["mode"] == "tls-auth"


def test_openvpn_of_an_unknown_wrapping_by_the_servers_answer() -> None:
    reset = b"\x38" + SESSION + KEY[20:44]
    answer = b"\x40" + OTHER + b"\x01" + bytes(4) + SESSION + bytes(4)
    assert PROTOCOLS["openvpn"](udp_flow((">", reset))) is UNDECIDED
    assert PROTOCOLS["openvpn"](udp_flow((">", reset), ("<", answer), (">", b"\x20" + SESSION + KEY[:90])))
    assert PROTOCOLS["openvpn"](udp_flow((">", reset), ("<", answer), ("<", b"\x99" + SESSION))) is None
    assert PROTOCOLS["openvpn"](udp_flow((">", reset), ("<", b"\x40" + KEY[:40]))) is None


def isakmp(version: int, exchange: int, following: int, flags: int = 8, extra: int = 100) -> bytes:
    return SESSION + bytes(8) + struct.pack("!BBBBII", following, version, exchange, flags, 0, 28 + extra) + KEY[:extra]


@pytest.mark.parametrize("marker", [b"", bytes(4)])
@pytest.mark.parametrize(
    ("message", "version"), [(isakmp(0x20, 34, 33), 2), (isakmp(0x10, 2, 1, 0), 1), (isakmp(0x10, 4, 1, 0), 1)]
)
def test_ike_with_and_without_its_marker(marker: bytes, message: bytes, version: int) -> None:
    evidence = PROTOCOLS["ike"](udp_flow((">", marker + message), port=7))
    assert isinstance(evidence, dict)
    assert (evidence["version"], evidence["non_esp_marker"]) == (version, bool(marker))


def test_ike_in_tcp() -> None:
    message = isakmp(0x20, 34, 33)
    stream = b"IKETCP" + (len(message) + 6).to_bytes(2, "big") + bytes(4) + message
    for cut in (0, 3, 7, 10, 20):
        segments = [(">", part) for part in (stream[:cut], stream[cut:]) if part]
        found = recognise(tcp_flow(*segments, port=4500))
        assert found is not None
        assert (found.protocol, found.evidence["length"]) == ("ike", len(message))
    assert PROTOCOLS["ike"](tcp_flow((">", b"IKETCP" + bytes(50)))) is None


def test_what_is_not_ike() -> None:
    for message in (isakmp(0x20, 34, 33) + b"\0", isakmp(0x30, 34, 33), isakmp(0x20, 2, 33), isakmp(0x20, 34, 1)):
        assert PROTOCOLS["ike"](udp_flow((">", message))) is None


def test_esp_in_udp_by_three_packets() -> None:
    lines = [(">", b"\xc0\xff\xee\x01" + struct.pack("!I", number) + KEY[:92]) for number in (1, 2, 3)]
    assert PROTOCOLS["esp-in-udp"](udp_flow(*lines[:2])) is UNDECIDED
    assert PROTOCOLS["esp-in-udp"](udp_flow(*lines)) == {"spi": "c0ffee01", "first": 1, "packets": 3}
    plain = [(arrow, payload[:8] + bytes(92)) for arrow, payload in lines]
    assert PROTOCOLS["esp-in-udp"](udp_flow(*plain)) is None


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4, 5), (0, 1, 1, 3, 2, 4), (0, 2, 1, 3, 5, 4, 0)])
def test_numbers_may_come_shuffled_and_twice(order: tuple[int, ...]) -> None:
    """From before a counter's turn to after it."""
    esp = [b"\xc0\xff\xee\x01" + struct.pack("!I", 5 + n) + KEY[:92] for n in range(6)]
    guard = [b"\4\0\0\0abcd" + struct.pack("<Q", 255 + n) + KEY[:80] for n in range(6)]
    media = [struct.pack("!BBHII", 0x80, 0, 65533 + n & 0xFFFF, 160 * n, 77) + bytes(160) for n in range(6)]
    for protocol, packets in (("esp-in-udp", esp), ("wireguard", guard), ("rtp", media)):
        found = PROTOCOLS[protocol](udp_flow(*((">", packets[n]) for n in order)))
        assert found not in (None, UNDECIDED), protocol


def test_esp_that_might_be_openvpn_takes_six_packets() -> None:
    lines = [(">", openvpn_data(n, 40 + 4 * n)) for n in range(1, 7)]
    assert PROTOCOLS["esp-in-udp"](udp_flow(*lines[:5])) is UNDECIDED
    assert PROTOCOLS["esp-in-udp"](udp_flow(*lines)) not in (None, UNDECIDED)


def test_pptp_and_l2tp() -> None:
    start = struct.pack("!HHIHH", 156, 1, 0x1A2B3C4D, 1, 0) + bytes(144)
    assert PROTOCOLS["pptp"](tcp_flow((">", start[:5]))) is UNDECIDED
    assert PROTOCOLS["pptp"](tcp_flow((">", start[:5]), (">", start[5:]))) == {
        "control": 1, "length": 156, "cookie": "1a2b3c4d",
    }  # fmt: skip
    assert PROTOCOLS["pptp"](tcp_flow((">", start[:4] + b"\0" + start[5:]))) is None
    request = struct.pack("!HHHHHH", 0xC802, 60, 0, 0, 0, 0) + struct.pack("!HHHH", 0x8008, 0, 0, 1) + bytes(40)
    assert PROTOCOLS["l2tp"](udp_flow((">", request))) == {"version": 2, "message": 1, "length": 60}
    assert PROTOCOLS["l2tp"](udp_flow((">", request + b"\0"))) is None


def openvpn_data(number: int, size: int, *, head: bytes = b"\x48\0\0\5") -> bytes:
    return head + struct.pack("!I", number) + KEY[:size]


@pytest.mark.parametrize(
    "packets",
    [
        [openvpn_data(n, 41 + 7 * n) for n in (1, 2, 3, 4, 5)],  # too few
        [openvpn_data(9, 41 + 7 * n) for n in range(1, 8)],  # the number stands
        [openvpn_data(n, 41 + 7 * n, head=b"\x48\0\0" + bytes([n])) for n in range(1, 8)],  # the peer changes
        [openvpn_data(n, 40 + 4 * n) for n in range(1, 8)],  # whole words: ESP under an SPI that begins with 48
        [b"\x48\0\0\5" + struct.pack("!I", n) + bytes(50 + n) for n in range(1, 8)],  # not random
    ],
)
def test_what_is_not_openvpn_data(packets: list[bytes]) -> None:
    found = PROTOCOLS["openvpn"](udp_flow(*((">", packet) for packet in packets)))
    assert found is (UNDECIDED if len(packets) < 6 else None)


def test_openvpn_data_and_esp_are_told_apart_by_their_lengths() -> None:
    esp = udp_flow(*((">", openvpn_data(n, 40 + 4 * n)) for n in range(1, 8)))
    found = recognise(esp)
    assert found is not None
    assert found.protocol == "esp-in-udp"


def scrambled(payload: bytes, method: str) -> bytes:
    """Do what the patch does: `xormask secret`, `xorptrpos`, `reverse` (all but the first byte), or all of them."""
    masked = bytes(byte ^ b"secret"[n % 6] for n, byte in enumerate(payload))
    position = bytes(byte ^ (n + 1 & 0xFF) for n, byte in enumerate(payload))
    backwards = payload[:1] + payload[:0:-1]
    if method == "obfuscate":
        return scrambled(scrambled(scrambled(masked, "xorptrpos"), "reverse"), "xorptrpos")
    return {"xormask": masked, "xorptrpos": position, "reverse": backwards}[method]


@pytest.mark.parametrize("method", ["xormask", "xorptrpos", "obfuscate"])
@pytest.mark.parametrize("name", ["openvpn-udp", "openvpn-tls-auth", "openvpn-tls-auth-sha512", "openvpn-tls-crypt"])
def test_openvpn_under_the_xor_patch(name: str, method: str) -> None:
    """The captures, scrambled as the patch does it."""
    opening = next(of_capture(CAPTURES / f"{name}.pcap"))
    hidden = udp_flow(*(("><"[not one.from_client], scrambled(one.payload, method)) for one in opening.packets))
    found = recognise(hidden)
    assert found is not None
    assert (found.protocol, found.evidence["mode"]) == ("openvpn", "scrambled")


def test_lengths_alone_are_no_scrambled_openvpn() -> None:
    """The same lengths, but random first bytes."""
    opening = next(of_capture(CAPTURES / "openvpn-udp.pcap"))
    lines = [("><"[not one.from_client], KEY[n * 7 : n * 7 + one.length]) for n, one in enumerate(opening.packets)]
    assert PROTOCOLS["openvpn"](udp_flow(*lines)) in (None, UNDECIDED)
