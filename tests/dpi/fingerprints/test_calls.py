"""STUN, TURN, RTP and the calls of messengers."""

from __future__ import annotations

import struct

import pytest

from testbed.dpi.fingerprints import PROTOCOLS, UNDECIDED, Opening, recognise
from tests.dpi.fingerprints.flows import tcp_flow, udp_flow

#: RFC 5769 §2.1, "Sample Request"
RFC_5769_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff"
    "80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249"
    "c1b571a280280004e57a3bcf"
)
CLASSIC_REQUEST = bytes.fromhex("00010000") + bytes(range(16))
ALLOCATE = bytes.fromhex("000300082112a442") + bytes(range(12)) + bytes.fromhex("0019000411000000")


def test_stun_of_the_rfc() -> None:
    evidence = {"type": "0001", "method": "binding", "magic_cookie": True}
    assert PROTOCOLS["stun"](udp_flow((">", RFC_5769_REQUEST))) == evidence
    assert PROTOCOLS["stun"](tcp_flow((">", RFC_5769_REQUEST))) == evidence
    assert PROTOCOLS["stun"](tcp_flow((">", RFC_5769_REQUEST[:9]))) is UNDECIDED
    framed = struct.pack("!H", len(RFC_5769_REQUEST)) + RFC_5769_REQUEST
    assert PROTOCOLS["stun"](tcp_flow((">", framed))) == evidence


def test_stun_without_a_cookie() -> None:
    assert PROTOCOLS["stun"](udp_flow((">", CLASSIC_REQUEST))) == {
        "type": "0001", "method": "binding", "magic_cookie": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "payload",
    [
        RFC_5769_REQUEST + b"\0",
        RFC_5769_REQUEST[:-1],
        RFC_5769_REQUEST[:20],  # a length that lies
        CLASSIC_REQUEST + b"\0",
        bytes.fromhex("00040000") + bytes(range(16)),  # no classic type
        bytes.fromhex("00010004") + bytes(range(16)) + bytes.fromhex("77770000"),  # no classic attribute
        b"\x40" + RFC_5769_REQUEST[1:],
        bytes.fromhex("00020000") + bytes(16),  # a RIP entry
    ],
)
def test_what_is_not_stun(payload: bytes) -> None:
    assert PROTOCOLS["stun"](udp_flow((">", payload))) is None


def test_turn_is_stun_too() -> None:
    flow = udp_flow((">", ALLOCATE))
    assert PROTOCOLS["turn"](flow) == {"type": "0003", "method": "allocate"}
    assert PROTOCOLS["stun"](flow)
    found = recognise(flow)
    assert found is not None
    assert found.protocol == "turn"
    assert PROTOCOLS["turn"](udp_flow((">", RFC_5769_REQUEST))) is UNDECIDED


def test_channel_data_alone() -> None:
    lines = [(">", struct.pack("!HH", 0x4001, size) + bytes(size)) for size in (10, 20, 30)]
    assert PROTOCOLS["turn"](udp_flow(*lines[:2])) is UNDECIDED
    assert PROTOCOLS["turn"](udp_flow(*lines)) == {"channel": "4001", "packets": 3}
    assert PROTOCOLS["turn"](udp_flow(*((arrow, payload + b"junk") for arrow, payload in lines))) is None


def rtp(number: int, stamp: int, *, ssrc: int = 0xCAFE, kind: int = 0, first: int = 0x80) -> bytes:
    return struct.pack("!BBHII", first, kind, number, stamp, ssrc) + bytes(160)


def test_rtp_by_four_packets() -> None:
    lines = [(">", rtp(65534 + n & 0xFFFF, 160 * n)) for n in range(4)]
    assert PROTOCOLS["rtp"](udp_flow(*lines[:3])) is UNDECIDED
    assert PROTOCOLS["rtp"](udp_flow(*lines)) == {"ssrc": "0000cafe", "payload_type": 0, "packets": 4}


@pytest.mark.parametrize(
    "flow",
    [
        udp_flow(*((">", rtp(n, 160 * n, ssrc=n + 1)) for n in range(6))),
        udp_flow(*((">", rtp(7, 160 * n)) for n in range(6))),  # the number stands
        udp_flow(*((">", rtp(50 * n, 160 * n)) for n in range(6))),
        udp_flow(*((">", rtp(n, 4_000_000_000 - 160 * n)) for n in range(6))),  # time runs back
        udp_flow(*((">", rtp(n, 160 * n, first=0x40)) for n in range(6))),  # version 1
        udp_flow(*((">", rtp(n, 160 * n, kind=72)) for n in range(6))),  # RTCP's types
    ],
)
def test_what_is_not_rtp(flow: Opening) -> None:
    assert PROTOCOLS["rtp"](flow) in (None, UNDECIDED)


def test_rtcp() -> None:
    report = struct.pack("!BBHI", 0x80, 200, 6, 0xCAFE) + bytes(20)
    source = struct.pack("!BBHI", 0x81, 202, 2, 0xCAFE) + b"\x01\x02ab"
    assert PROTOCOLS["rtcp"](udp_flow((">", report + source))) == {"type": 200, "ssrc": "0000cafe", "length": 40}
    assert PROTOCOLS["rtcp"](udp_flow((">", report + source + b"\0"))) is None
    assert PROTOCOLS["rtcp"](udp_flow((">", report + bytes(14))))  # SRTCP: the index and a tag of ten bytes


@pytest.mark.parametrize(
    ("listed", "version"),
    [(b"", "1.2"), (b"\x02\xfe\xfc", "1.3"), (b"\x04\xfe\xfd\xfe\xfc", "1.3"), (b"\x02\x5a\x5a", "1.2")],
)
def test_dtls_of_the_newest_version_on_offer(listed: bytes, version: str) -> None:
    """RFC 9147 §5.3: a hello of 1.3 calls itself 1.2, and lists versions in an extension."""
    extensions = b"\0\x2b" + len(listed).to_bytes(2, "big") + listed if listed else b""
    body = b"\xfe\xfd" + bytes(range(32)) + b"\0\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    size = len(body).to_bytes(3, "big")
    message = b"\x01" + size + bytes(5) + size + body
    record = b"\x16\xfe\xfd" + bytes(8) + len(message).to_bytes(2, "big") + message
    evidence = PROTOCOLS["dtls"](udp_flow((">", record)))
    assert isinstance(evidence, dict)
    assert evidence["version"] == version
