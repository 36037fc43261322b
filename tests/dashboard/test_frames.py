"""The frame behind a decision: found by its key, the bytes that matched marked."""

from __future__ import annotations

from pathlib import Path

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Raw

from testbed.dashboard import frames
from testbed.middlebox.live import packet_key
from testbed.run.directory import RunDirectory
from testbed.wire.pcap import PcapngWriter


def packet(number: int) -> bytes:
    payload = Raw(f"GET / HTTP/1.1\r\nHost: Site{number}.example\r\n\r\n".encode())
    return bytes(IP(src="100.64.1.1", dst="198.19.3.4", id=number) / TCP(sport=4, dport=80) / payload)


def test_a_frame_is_found_by_its_key_wherever_it_was_captured(tmp_path: Path) -> None:
    directory = RunDirectory.prepared(tmp_path)
    directory.capture("gateway", "outside").parent.mkdir(exist_ok=True)
    with directory.capture("gateway", "outside").open("wb") as stream:
        writer = PcapngWriter(stream)
        for number in range(1, 5):
            writer.write(0.0, packet(number))
    found = frames.find(directory, "gateway", packet_key(packet(3)))
    assert found is not None
    assert (found["side"], found["frame"], found["file"]) == ("outside", 3, "gateway-outside.pcapng")
    assert frames.find(directory, "gateway", packet_key(packet(9))) is None


def test_names_are_marked_as_they_stand_on_the_wire() -> None:
    raw = packet(7)
    (place,) = frames.matched(raw, {"http_host": "site7.example", "pattern": ".example"})
    assert raw[place["start"] : place["end"]] == b"Site7.example"
    question = bytes(IP() / UDP(dport=53) / DNS(qd=DNSQR(qname="www.example.com")))
    (place,) = frames.matched(question, {"dns": "www.example.com"})
    assert question[place["start"] : place["end"]] == b"\x03www\x07example\x03com"
    (place,) = frames.matched(raw, {"payload": {"length": 40, "prefix": "474554"}})
    assert raw[place["start"] : place["end"]] == b"GET"


def test_evidence_that_is_not_in_the_bytes_has_no_place() -> None:
    assert frames.matched(packet(7), {"sni": "other.example", "address": "198.19.3.4", "left_s": 5.0}) == []


def test_a_frame_is_explained_with_its_fields() -> None:
    shown = frames.explain(packet(7), {"http_host": "site7.example"})
    assert bytes.fromhex(shown["hex"]) == packet(7)
    assert "198.19.3.4" in shown["fields"]
    assert shown["matched"][0]["what"] == "http_host"
