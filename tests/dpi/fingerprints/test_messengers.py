"""The signatures of messengers, as nDPI's sources and the protocols' documentation say."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import pytest

from testbed.dpi.fingerprints import PROTOCOLS, UNDECIDED, Opening, recognise
from tests.dpi.fingerprints.flows import tcp_flow, udp_flow

NOISE = random.Random(5).randbytes(2000)
#: core.telegram.org/mtproto: auth_key_id 0, message_id, length 20, req_pq_multi#be7e8ef1, nonce
REQ_PQ = bytes(8) + NOISE[:8] + bytes.fromhex("14000000f18e7ebe") + NOISE[8:24]


@pytest.mark.parametrize(
    "flow",
    [
        udp_flow((">", b"\x09\x02" + NOISE[:8])),
        udp_flow((">", b"\x00\x09\x03" + NOISE[:8])),
        udp_flow((">", b"\x88\x49\x1a\x00" + NOISE[:1095])),
        udp_flow((">", b"\x05"), (">", b"\x05")),
        udp_flow((">", NOISE[:30]), ("<", b"\x05"), (">", b"\x05")),
    ],
)
def test_imo(flow: Opening) -> None:
    found = recognise(flow)
    assert found is not None
    assert found.protocol == "imo"


@pytest.mark.parametrize(
    "flow",
    [
        udp_flow((">", b"\x09\x02" + NOISE[:9])),
        udp_flow((">", b"\x05"), (">", b"\x06")),
        udp_flow((">", b"\x05"), (">", NOISE[:20]), (">", b"\x05")),
        udp_flow((">", b"\xff"), (">", b"\xff")),  # IPsec keeps its NAT mapping so (RFC 3948 §4)
        tcp_flow((">", b"\x09\x02" + NOISE[:8])),
    ],
)
def test_what_is_not_imo(flow: Opening) -> None:
    found = recognise(flow)
    assert found is None or found.protocol != "imo"


@pytest.mark.parametrize("start", ["4544000100000408", "4544000100000208", "57410105", "5741060300002a"])
def test_whatsapp_by_its_preamble(start: str) -> None:
    flow = tcp_flow((">", bytes.fromhex(start) + NOISE[:40]), port=5222)
    assert PROTOCOLS["whatsapp"](flow)
    assert PROTOCOLS["whatsapp"](tcp_flow((">", bytes.fromhex(start)[:2]))) is UNDECIDED
    assert PROTOCOLS["whatsapp"](tcp_flow((">", b"WAIT a moment"))) is None


def test_whatsapp_calls_by_the_attributes_of_their_stun() -> None:
    allocate = bytes.fromhex("000300082112a442") + bytes(range(12)) + bytes.fromhex("40000004aabbccdd")
    flow = udp_flow((">", allocate), port=3478)
    assert PROTOCOLS["whatsapp"](flow) == {"call": True, "type": "0003", "attributes": ["4000"]}
    found = recognise(flow)
    assert found is not None
    assert found.protocol == "whatsapp"


def with_length(size: int) -> bytes:
    return size.to_bytes(2, "little") + NOISE[: size - 2]


def test_viber_needs_both_lengths_and_a_port() -> None:
    lines = [(">", with_length(200)), ("<", with_length(90))]
    assert PROTOCOLS["viber"](tcp_flow(lines[0], port=4244)) is UNDECIDED
    assert PROTOCOLS["viber"](tcp_flow(*lines, port=4244)) == {"lengths": [200, 90], "port": 4244}
    assert PROTOCOLS["viber"](tcp_flow(*lines, port=2106)) is None  # a game of that framing
    assert PROTOCOLS["viber"](tcp_flow(lines[0], ("<", NOISE[:90]), port=4244)) is None
    assert PROTOCOLS["viber"](udp_flow((">", b"ab\x03\x00" + bytes(8)), port=7985))
    assert PROTOCOLS["viber"](udp_flow((">", b"ab\x03\x00" + bytes(8)), port=7000)) is None


TRANSPORTS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "abridged": (b"\xef", lambda body: bytes([len(body) // 4]) + body),
    "intermediate": (b"\xee" * 4, lambda body: len(body).to_bytes(4, "little") + body),
    "padded intermediate": (b"\xdd" * 4, lambda body: (len(body) + 3).to_bytes(4, "little") + body + b"pad"),
}


@pytest.mark.parametrize("name", TRANSPORTS)
def test_telegram_by_the_key_exchange(name: str) -> None:
    start, frame = TRANSPORTS[name]
    evidence = {"transport": name, "key_exchange": True}
    assert PROTOCOLS["telegram"](tcp_flow((">", start + frame(REQ_PQ)))) == evidence
    assert PROTOCOLS["telegram"](tcp_flow((">", start))) is UNDECIDED
    assert PROTOCOLS["telegram"](tcp_flow((">", start), (">", frame(REQ_PQ)))) == evidence


def test_telegram_by_the_key_exchange_in_the_full_transport() -> None:
    """Length, number, body and CRC-32: what Telethon speaks unless told otherwise."""
    head = (len(REQ_PQ) + 12).to_bytes(4, "little") + bytes(4) + REQ_PQ
    frame = head + zlib.crc32(head).to_bytes(4, "little")
    evidence = {"transport": "full", "key_exchange": True}
    assert PROTOCOLS["telegram"](tcp_flow((">", frame))) == evidence
    assert PROTOCOLS["telegram"](tcp_flow((">", frame[:9]))) is UNDECIDED
    assert PROTOCOLS["telegram"](tcp_flow((">", frame[:9]), (">", frame[9:]))) == evidence
    assert PROTOCOLS["telegram"](tcp_flow((">", frame[:-1] + b"x"))) is None


@pytest.mark.parametrize("name", TRANSPORTS)
def test_telegram_of_a_known_key_by_both_sides_frames(name: str) -> None:
    start, frame = TRANSPORTS[name]
    asked, answer = (">", start + frame(NOISE[:120]) + frame(NOISE[:88])), ("<", frame(NOISE[:56]))
    assert PROTOCOLS["telegram"](tcp_flow(asked)) is UNDECIDED
    assert PROTOCOLS["telegram"](tcp_flow(asked, answer))
    assert PROTOCOLS["telegram"](tcp_flow((">", start + frame(NOISE[:120]) + b"x"), answer)) is None


def test_telegram_calls_by_their_reflector_pings() -> None:
    ping = NOISE[:16] + b"\xff" * 12 + b"\xfe\xff\xff\xff" + NOISE[:8]
    assert PROTOCOLS["telegram"](udp_flow((">", ping), port=529))
    assert PROTOCOLS["telegram"](udp_flow((">", b"\xff" * 40), port=529)) is None
    assert PROTOCOLS["telegram"](udp_flow((">", NOISE[:40]), port=529)) is None
