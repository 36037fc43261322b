"""The packet behind a decision is found in a capture and shown around the bytes that matched."""

from __future__ import annotations

from pathlib import Path

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.utils import PcapWriter

from testbed.middlebox.live import packet_key
from testbed.session.seen import Decided
from testbed.session.story import hexdump, packet_frame, packet_of


def question(name: str) -> bytes:
    return bytes(IP(src="100.64.1.1", dst="198.18.0.53") / UDP(sport=4000, dport=53) / DNS(qd=DNSQR(qname=name)))


def decided(packet: bytes, box: str = "gateway") -> Decided:
    flow = "udp 100.64.1.1:4000 > 198.18.0.53:53"
    return Decided(0.0, box, "dns", "forged", "pass", flow, 1, {"dns": "twitter.com"}, packet_key(packet))


def capture(path: Path, *packets: bytes) -> dict[str, Path]:
    with PcapWriter(str(path), linktype=101) as writer:
        for packet in packets:
            writer.write(packet)
    return {"gateway-inside": path}


def test_the_packet_is_found_by_its_hash_whatever_its_ttl(tmp_path: Path) -> None:
    first, second = question("any.example"), question("twitter.com")
    routed = bytearray(second)
    routed[8] -= 1
    captures = capture(tmp_path / "a.pcap", first, bytes(routed))
    assert packet_of(decided(second), captures) == bytes(routed)
    assert packet_frame(decided(second), captures) == "2 of gateway-inside"
    assert packet_of(decided(second, box="other"), captures) is None


def test_a_capture_that_is_still_being_written_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    packet = question("twitter.com")
    captures = capture(tmp_path / "a.pcap", packet, packet)
    whole = captures["gateway-inside"].read_bytes()
    captures["gateway-inside"].write_bytes(whole[:-7])
    assert packet_frame(decided(packet), captures) == "1 of gateway-inside"
    captures["gateway-inside"].write_bytes(b"")
    assert packet_of(decided(packet), captures) is None


def test_a_long_packet_is_shown_around_a_place() -> None:
    data = bytes(range(256)) * 4
    rows = hexdump(data, around=0x200)
    assert [row[:4] for row in rows] == [f"{place:04x}" for place in range(0x1C0, 0x240, 16)]
    assert hexdump(b"GET / HTTP/1.1\r\n") == ["0000  47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1.."]
    assert hexdump(data, around=1023)[-1].startswith("03f0")
