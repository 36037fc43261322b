"""Captures written by other hands (Scapy, editcap) and read back; tshark is the oracle for times and lengths."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, PcapWriter

from testbed.wire import pcap
from testbed.wire.framing import PPP as PPP_LINK
from testbed.wire.framing import strip_link

BEGIN = 1_660_000_000
TIMES = [BEGIN + 0.25, BEGIN + 0.250001, BEGIN + 3599.999999]
V4 = IP(src="100.64.1.1", dst="198.18.0.1") / UDP(sport=5, dport=6) / Raw(b"inside an IPv4 packet")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5, dport=6) / Raw(b"inside an IPv6 packet")
FRAMES = [Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / layers for layers in (V4, V6, ARP())]


def capture(path: Path, frames: list[Packet] = FRAMES, order: str = "<", nano: bool = False) -> Path:
    """Write frames with Scapy, at `TIMES`."""
    with PcapWriter(str(path), linktype=1, nano=nano, endianness=order) as writer:
        for frame, now in zip(frames, TIMES, strict=False):
            frame.time = now
            writer.write(frame)
    return path


def records(path: Path) -> list[pcap.Record]:
    with path.open("rb") as source:
        return list(pcap.read(source))


def tshark(path: Path) -> list[tuple[int, str, int, int]]:
    """Return frame number, time, captured and wire length as tshark has them."""
    fields = ("frame.number", "frame.time_epoch", "frame.cap_len", "frame.len")
    argv = ["tshark", "-r", str(path), "-T", "fields", *(part for field in fields for part in ("-e", field))]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    return [(int(number), now, int(kept), int(length)) for number, now, kept, length in rows]


def inside(linktype: int, data: bytes) -> bytes | None:
    packet = strip_link(linktype, data)
    return None if packet is None else bytes(packet)


def check_as_tshark(path: Path, count: int) -> list[pcap.Record]:
    found = records(path)
    seen = tshark(path)
    assert len(found) == len(seen) == count
    for record, (number, now, kept, length) in zip(found, seen, strict=True):
        assert (record.frame, len(record.data), record.wire_length) == (number, kept, length)
        assert abs(record.timestamp - float(now)) < 5e-7
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_of_each_byte_order_and_resolution(tmp_path: Path, order: str, nano: bool) -> None:
    found = check_as_tshark(capture(tmp_path / "x.pcap", order=order, nano=nano), 3)
    assert [record.data for record in found] == [bytes(frame) for frame in FRAMES]


@pytest.mark.parametrize("form", ["pcapng", "nsecpcap", "modpcap", "pcap"])
def test_what_editcap_writes(tmp_path: Path, form: str) -> None:
    made = tmp_path / "out"
    subprocess.run(["editcap", "-F", form, str(capture(tmp_path / "in.pcap")), str(made)], check=True)
    found = check_as_tshark(made, 3)
    assert [record.data for record in found] == [bytes(frame) for frame in FRAMES]


def test_snaplen(tmp_path: Path) -> None:
    made = tmp_path / "out"
    subprocess.run(["editcap", "-s", "40", "-F", "pcapng", str(capture(tmp_path / "in.pcap")), str(made)], check=True)
    assert [len(record.data) for record in check_as_tshark(made, 3)] == [40, 40, 40]


def test_two_interfaces_of_different_link_types(tmp_path: Path) -> None:
    """mergecap makes one section with an interface per file; the second one is raw IP with nanoseconds."""
    second, made = tmp_path / "b.pcap", tmp_path / "out.pcapng"
    with PcapWriter(str(second), linktype=101, nano=True) as writer:
        V4.time = BEGIN + 1
        writer.write(V4)
    subprocess.run(["mergecap", "-w", str(made), str(capture(tmp_path / "a.pcap")), str(second)], check=True)
    found = check_as_tshark(made, 4)
    assert [record.linktype for record in found] == [1, 1, 101, 1]
    assert [inside(record.linktype, record.data) for record in found] == [bytes(V4), bytes(V6), bytes(V4), None]


def test_sections_that_follow_each_other_and_differ_in_byte_order(tmp_path: Path) -> None:
    first, path = tmp_path / "scapy.pcapng", tmp_path / "both.pcapng"
    with PcapNgWriter(str(first)) as writer:
        writer.write(FRAMES[0])
    path.write_bytes(first.read_bytes() + big_endian_section(bytes(FRAMES[1])))
    found = records(path)
    assert [(record.frame, record.data) for record in found] == [(1, bytes(FRAMES[0])), (2, bytes(FRAMES[1]))]
    assert found[1].timestamp == 100 + 5 / 1024


def block(kind: int, body: bytes, order: str = ">") -> bytes:
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


SECTION = block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))


def big_endian_section(data: bytes) -> bytes:
    """A section with options (resolution 2^-10 s, 100 s added), name resolution, statistics and an unknown block."""
    options = struct.pack(">HHBxxxHHqHH", 9, 1, 0x8A, 14, 8, 100, 0, 0)
    return (
        SECTION
        + block(4, b"\0\1\0\4\x64\x40\1\1\0\0\0\0")
        + block(1, struct.pack(">HHI", 1, 0, 0) + options)
        + block(0x0BAD, b"something a vendor thought of")
        + block(6, struct.pack(">IIIII", 0, 0, 5, len(data), len(data)) + data)
        + block(5, bytes(12))
    )


def test_simple_and_obsolete_packet_blocks() -> None:
    data, order = bytes(FRAMES[0]), "<"
    kept = data[:50]
    stream = (
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), order)
        + block(1, struct.pack("<HHI", 1, 0, 50), order)
        + block(2, struct.pack("<HHIIII", 0, 0, 0, 7_000_000, len(data), len(data)) + data, order)
        + block(3, struct.pack("<I", len(data)) + kept, order)
    )
    found = list(pcap.read(io.BytesIO(stream)))
    assert found == [pcap.Record(1, 7.0, 1, data, len(data)), pcap.Record(2, 7.0, 1, kept, len(data))]


LINKS: list[tuple[str, int, Packet]] = [
    ("ethernet", 1, Ether() / V4),
    ("ethernet-ipv6", 1, Ether() / V6),
    ("vlan", 1, Ether() / Dot1Q(vlan=5) / V4),
    ("qinq", 1, Ether() / Dot1AD(vlan=9) / Dot1Q(vlan=5) / V6),
    ("pppoe", 1, Ether() / PPPoE(sessionid=3) / PPP() / V4),
    ("pppoe-ipv6", 1, Ether() / Dot1Q(vlan=2) / PPPoE(sessionid=3) / PPP(proto=0x57) / V6),
    ("mpls", 1, Ether(type=0x8847) / MPLS(label=3, s=0) / MPLS(label=16, s=1) / V4),
    ("raw-12", 12, V4),
    ("raw-14", 14, V6),
    ("raw-101", 101, V6),
    ("raw-228", 228, V4),
    ("raw-229", 229, V6),
    ("cooked", 113, CookedLinux() / V4),
    ("cooked-vlan", 113, CookedLinux() / Dot1Q(vlan=5) / V6),
    ("cooked-2", 276, CookedLinuxV2() / V4),
    ("cooked-2-ipv6", 276, CookedLinuxV2() / V6),
    ("null", 0, Loopback(type=2) / V4),
    ("null-darwin-ipv6", 0, Loopback(type=30) / V6),
    ("loop", 108, Raw(b"\0\0\0\x02") / V4),
    ("ppp", PPP_LINK, PPP() / V4),
]


@pytest.mark.parametrize(("linktype", "frame"), [link[1:] for link in LINKS], ids=[link[0] for link in LINKS])
def test_the_packet_inside_each_frame(linktype: int, frame: Packet) -> None:
    inner = V4 if (V4.getlayer(UDP) and frame.haslayer(IP)) or linktype == 108 else V6
    assert inside(linktype, bytes(frame)) == bytes(inner)


@pytest.mark.parametrize(
    ("linktype", "frame"),
    [
        (1, Ether() / ARP()), (1, Ether() / Dot1Q() / ARP()), (1, Ether(type=0x8863) / bytes(40)),
        (105, Raw(bytes(60))),
        (1, Ether() / PPPoE() / PPP(proto=0xC021) / bytes(8)), (0, Loopback(type=7) / bytes(40)), (1, Raw(b"short")),
        (113, CookedLinux(proto=0x806) / ARP()), (276, Raw(b"")), (101, Raw(b"")), (1, Ether(type=0x8847) / bytes(20)),
        (9, Raw(b"\xff")), (1, Ether(type=0x8100)),
    ],
)  # fmt: skip
def test_frames_without_ip(linktype: int, frame: Packet) -> None:
    assert strip_link(linktype, bytes(frame)) is None


@given(
    st.sampled_from([0, 1, 9, 101, 105, 113, 276]), st.binary(max_size=40), st.sampled_from([0x8100, 0x8864, 0x8847])
)
def test_frames_of_anything_never_raise(linktype: int, data: bytes, kind: int) -> None:
    strip_link(linktype, data)
    strip_link(1, bytes(12) + struct.pack("!H", kind) + data)


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_file_cut_anywhere_gives_its_whole_packets(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x"
    subprocess.run(["editcap", "-F", form, str(capture(tmp_path / "in.pcap")), str(path)], check=True)
    whole, expected = path.read_bytes(), records(path)
    for end in range(len(whole)):
        reader = pcap.Reader(io.BytesIO(whole[:end]))
        try:
            found = list(reader)
        except ValueError as error:
            assert end < 24 and ("cut short" in str(error) or "not a pcap" in str(error) or "empty" in str(error))
        else:
            assert (found == expected[: len(found)] and len(found) < len(expected)) or not reader.ends_early
    assert list(pcap.Reader(io.BytesIO(whole))) == expected


class Drip(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read1(self, size: int | None = -1) -> bytes:
        return self.read(7)


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_pipe_that_drips(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x"
    subprocess.run(["editcap", "-F", form, str(capture(tmp_path / "in.pcap")), str(path)], check=True)
    assert list(pcap.Reader(Drip(path.read_bytes()))) == records(path)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"", "an empty file"),
        (b"hello, world", "not a pcap"),
        (struct.pack("<IHHIIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 9, 1, 0, 0, 1 << 31, 1), "frame 1 claims 2147483648"),
        (SECTION + b"\0\0\0\6\0\0\0\4\0\0\0\4", "behind frame 0: a pcapng block of 4 bytes"),
        (SECTION + block(6, struct.pack(">IIIII", 3, 0, 0, 0, 0)), "frame 1 comes from interface 3"),
        (SECTION + block(1, b"\0\1\0\0\0\0\0\0") + block(6, struct.pack(">IIIII", 0, 0, 0, 9, 9)), "claims 9 bytes"),
        (SECTION + block(1, b""), "interface description cut short"),
        (SECTION + block(1, bytes(8)) + block(2, bytes(8)), "frame 1: a pcapng packet block cut short"),
        (SECTION + block(1, bytes(8)) + block(6, bytes(8)), "frame 1: a pcapng packet block cut short"),
    ],
)  # fmt: skip
def test_broken_files_are_told(stream: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        list(pcap.read(io.BytesIO(stream)))


@given(st.sampled_from([b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a", b""]), st.binary(max_size=300))
def test_only_value_error_escapes(magic: bytes, rest: bytes) -> None:
    for opening in (b"", SECTION):
        with contextlib.suppress(ValueError):
            list(pcap.read(io.BytesIO(opening + magic + rest)))


class Long(io.BytesIO):
    """A pcap file of 47,360 packets of 1,400 bytes, made as it is read."""

    parts = 64

    def read1(self, size: int | None = -1) -> bytes:
        self.parts -= 1
        if self.parts < 0:
            return b""
        head = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) if self.parts == 63 else b""
        return head + (struct.pack("<IIII", 1, 2, 1400, 1400) + bytes(1400)) * 740


def test_memory_stays_constant() -> None:
    tracemalloc.start()
    count = sum(1 for _ in pcap.read(Long()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 64 * 740 and peak < 8 << 20
