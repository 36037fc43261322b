"""Streams in clear and in TLS: SSH, proxies, HTTP, Tor, BitTorrent, RDP, SMB; cut anywhere they are the same."""

from __future__ import annotations

import random
import struct

import pytest

from testbed.dpi.fingerprints import PROTOCOLS, UNDECIDED, Opening, recognise
from tests.dpi.fingerprints.flows import tcp_flow, udp_flow

NOISE = random.Random(7).randbytes(3000)
HANDSHAKE = b"\x13BitTorrent protocol" + bytes(8) + NOISE[:40]
RDP = bytes.fromhex("0300002f2ae00000000000") + b"Cookie: mstshash=bob\r\n" + bytes.fromhex("0100080003000000")
STREAMS = {
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10\r\n",
    "http-connect": b"CONNECT www.example.org:443 HTTP/1.1\r\nHost: www.example.org:443\r\n\r\n",
    "http": b"GET /a/b?c=d HTTP/1.1\r\nHost: www.example.org\r\n\r\n",
    "bittorrent": HANDSHAKE,
    "pptp": struct.pack("!HHIHH", 156, 1, 0x1A2B3C4D, 1, 0) + bytes(144),
    "whatsapp": bytes.fromhex("4544000100000408") + NOISE[:30],
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_known_however_it_is_cut(name: str) -> None:
    stream = STREAMS[name]
    for at in range(1, len(stream)):
        flow = tcp_flow((">", stream[:at]))
        wanted = frozenset({name})
        found = recognise(flow, wanted)
        assert found is not None or PROTOCOLS[name](flow) is UNDECIDED
        flow.show(True, stream[at:], 1.0)
        found = recognise(flow, wanted)
        assert found is not None
        assert found.protocol == name


def test_ssh_whoever_speaks_first() -> None:
    assert PROTOCOLS["ssh"](tcp_flow(("<", b"SSH-1.99-Cisco-1.25\n"))) == {
        "side": "server", "version": "1.99", "software": "Cisco-1.25",
    }  # fmt: skip
    assert PROTOCOLS["ssh"](tcp_flow((">", b"SSH is a protocol"))) is None


def socks5(request: bytes) -> Opening:
    return tcp_flow((">", b"\x05\x01\x00"), ("<", b"\x05\x00"), (">", b"\x05\x01\x00" + request + b"\x01\xbb"))


@pytest.mark.parametrize(
    ("request_end", "target"),
    [
        (b"\x03\x0bexample.org", "example.org:443"),
        (b"\x01\xc6\x12\x00\x05", "198.18.0.5:443"),
        (b"\x04" + bytes.fromhex("20010db8") + bytes(11) + b"\x01", "2001:db8::1:443"),
    ],
)
def test_socks5_tells_its_target(request_end: bytes, target: str) -> None:
    assert PROTOCOLS["socks5"](socks5(request_end)) == {"methods": [0], "chosen": 0, "target": target}


@pytest.mark.parametrize(
    "flow",
    [
        tcp_flow((">", b"\x05\x01\x00"), ("<", b"\x05\x02")),  # a method that nobody offered
        tcp_flow((">", b"\x05\x02\x00\x00"), ("<", b"\x05\x00")),
        tcp_flow((">", b"\x05\x00"), ("<", b"\x05\x00")),
        tcp_flow((">", b"\x05\x01\x00"), ("<", b"HTTP/1.1 400")),
        tcp_flow((">", b"\x05\x40" + NOISE[:20]), ("<", NOISE[:9])),
    ],
)
def test_what_is_not_socks5(flow: Opening) -> None:
    assert PROTOCOLS["socks5"](flow) is None


def test_socks4_needs_an_answer() -> None:
    asked = (">", b"\x04\x01\x00\x50\xc6\x12\x00\x05bob\0")
    assert PROTOCOLS["socks4"](tcp_flow(asked)) is UNDECIDED
    assert PROTOCOLS["socks4"](tcp_flow(asked, ("<", b"\0\x5a\0"))) is UNDECIDED
    assert PROTOCOLS["socks4"](tcp_flow(asked, ("<", b"\0\x60"))) is None
    assert PROTOCOLS["socks4"](tcp_flow(asked, ("<", b"\0\x5a" + bytes(6)))) == {
        "command": 1, "target": "198.18.0.5:80", "variant": "4", "reply": 0x5A,
    }  # fmt: skip
    assert PROTOCOLS["socks4"](tcp_flow(asked, ("<", b"\0\x60" + bytes(6)))) is None


def hello(name: str, suites: tuple[int, ...], *, alpn: bool = False) -> bytes:
    server = struct.pack("!HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name.encode()
    extensions = server + (bytes.fromhex("001000050003026832") if alpn else b"")
    body = b"\x03\x03" + NOISE[:32] + b"\0" + struct.pack(f"!H{len(suites)}H", 2 * len(suites), *suites) + b"\x01\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


TOR_SUITES = (0x1301, 0x1303, 0x1302, 0xC02B, 0xC02F, 0xCCA9, 0xCCA8, 0xC02C, 0xC030, 0xC00A, 0xC009, 0xC013, 0xC014,
              0x0033, 0x0039, 0x002F, 0x0035, 0x000A, 0x00FF)  # fmt: skip
OTHER_SUITES = (0x1301, 0xC02F, 0xC02B, 0x009C)


@pytest.mark.parametrize(
    ("stream", "sureness"),
    [
        (hello("www.abcdefghij.com", TOR_SUITES), "high"),
        (hello("www.e7jlrdih4.com", OTHER_SUITES), "middling"),
        (hello("www.facebook.com", OTHER_SUITES), None),
        (hello("www.abcdefghij.com", TOR_SUITES, alpn=True), None),
        (hello("www.abcdefghij.net", TOR_SUITES), None),
        (hello("abcdefghij.com", TOR_SUITES), None),
        (hello("www.abcdefghi1.com", TOR_SUITES), None),  # 1 is no base32 letter
    ],
    ids=["listed", "made up", "chosen", "alpn", "net", "no www", "no base32"],
)
def test_tor(stream: bytes, sureness: str | None) -> None:
    evidence = PROTOCOLS["tor"](tcp_flow((">", stream)))
    assert (evidence["sureness"] if isinstance(evidence, dict) else evidence) == sureness
    assert PROTOCOLS["tor"](tcp_flow((">", stream[:60]))) is UNDECIDED
    assert PROTOCOLS["tls"](tcp_flow((">", stream)))


def test_signal_by_name() -> None:
    assert PROTOCOLS["signal"](tcp_flow((">", hello("chat.signal.org", OTHER_SUITES)))) == {"sni": "chat.signal.org"}
    assert PROTOCOLS["signal"](tcp_flow((">", hello("notsignal.org", OTHER_SUITES)))) is None


FINISHED = bytes.fromhex("140303000101") + bytes(58)


@pytest.mark.parametrize(
    ("sent", "answered", "expected"),
    [(620, 3500, True), (620, 175, True), (620, 1000, False), (520, 3500, False), (720, 3500, False)],
)
def test_tls_in_tls_by_the_counts_of_trojan_killer(sent: int, answered: int, expected: bool) -> None:
    flow = tcp_flow(
        (">", hello("www.example.org", OTHER_SUITES)), ("<", b"\x16\x03\x03" + bytes(1200)),
        (">", FINISHED), (">", bytes(sent)), ("<", bytes(answered)),
    )  # fmt: skip
    assert PROTOCOLS["tls-in-tls"](flow) in (None, UNDECIDED)
    flow.show(True, bytes(80), 2.0)
    assert (PROTOCOLS["tls-in-tls"](flow) == {"sent": sent + 64, "answered": answered}) is expected


def test_bittorrent_of_all_kinds() -> None:
    dht = b"d1:ad2:id20:" + NOISE[:20] + b"e1:q4:ping1:t2:aa1:y1:qe"  # BEP 5's example
    tracker = bytes.fromhex("0000041727101980") + bytes(4) + NOISE[:4]
    syn = struct.pack("!BBHIIIHH", 0x41, 0, 7, 99, 0, 65536, 1, 0)
    state = struct.pack("!BBHIIIHH", 0x21, 0, 7, 99, 5, 65536, 9, 1)
    recogniser = PROTOCOLS["bittorrent"]
    assert recogniser(udp_flow((">", dht))) == {"part": "dht", "message": "q"}
    assert recogniser(udp_flow((">", tracker))) == {"part": "udp tracker"}
    assert recogniser(udp_flow((">", syn))) is UNDECIDED
    assert recogniser(udp_flow((">", syn), ("<", state))) == {"part": "utp", "connection": 7}
    assert recogniser(udp_flow((">", syn), ("<", state[:-1] + b"\x02"))) is UNDECIDED
    announce = b"GET /announce?info_hash=%12%34" + b"a" * 18 + b"&peer_id=-AZ HTTP/1.1\r\n\r\n"
    assert recogniser(tcp_flow((">", announce))) == {"part": "http tracker"}
    assert recogniser(tcp_flow((">", STREAMS["http"]))) is None


def test_rdp_and_smb() -> None:
    assert PROTOCOLS["rdp"](tcp_flow((">", RDP))) == {"cookie": True, "negotiates": True}
    assert PROTOCOLS["rdp"](tcp_flow((">", RDP[:11] + NOISE[:36]))) is None
    assert PROTOCOLS["smb"](tcp_flow((">", b"\0\0\0\x54\xfeSMB" + bytes(80)))) == {"dialect": 2}
    assert PROTOCOLS["smb"](tcp_flow((">", b"\0\0\0\x54\xfdSMA" + bytes(80)))) is None


def test_fastd() -> None:
    records = bytes.fromhex("000001000101000100000200020001f0")
    packet = b"\x01\0" + struct.pack("!H", len(records)) + records
    assert PROTOCOLS["fastd"](udp_flow((">", packet))) == {"handshake": 1, "records": [0, 1, 2]}
    assert PROTOCOLS["fastd"](udp_flow((">", packet + b"\0"))) is None
    assert PROTOCOLS["fastd"](udp_flow((">", packet[:3] + b"\x00" + packet[4:]))) is None
