"""`testbed replay`, called as the shell calls it, on captures that Scapy and editcap wrote."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter, rdpcap

from testbed.cli.main import main

CLIENT, SERVER = "100.64.0.2", "198.18.0.1"


def conversation(client: str = CLIENT, host: str = "twitter.com") -> list[Packet]:
    """A handshake, a request, and a DNS query for the same name, with ARP before it."""

    def segment(flags: str, seq: int, ack: int, back: bool = False, data: bytes = b"") -> Packet:
        src, dst, sport, dport = (SERVER, client, 80, 40000) if back else (client, SERVER, 40000, 80)
        return Ether() / IP(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags=flags, seq=seq, ack=ack) / Raw(data)

    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    query = Ether() / IP(src=client, dst=SERVER) / UDP(sport=5353, dport=53) / DNS(rd=1, qd=DNSQR(qname=host))
    return [
        Ether() / ARP(), segment("S", 1, 0), segment("SA", 8, 2, True), segment("A", 2, 9),
        segment("PA", 2, 9, data=request), query,
    ]  # fmt: skip


@pytest.fixture
def pcap(tmp_path: Path) -> Path:
    return write(tmp_path / "in.pcap", conversation())


def write(path: Path, frames: list[Packet]) -> Path:
    with PcapWriter(str(path), linktype=1) as writer:
        for number, frame in enumerate(frames):
            frame.time = 1_660_000_000 + number / 8
            writer.write(frame)
    return path


class Ran:
    """What a call printed and its exit status."""

    def __init__(self, status: Any, out: str, err: str) -> None:
        self.status, self.err = status, err
        self.text = out
        self.lines = [json.loads(line) for line in out.splitlines()] if out.startswith("{") else []


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*argv: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["testbed", "replay", *map(str, argv)])
        with pytest.raises(SystemExit) as left:
            main()
        return Ran(left.value.code, *capsys.readouterr())

    return run


def test_decisions_are_json_lines_with_frame_numbers(replay: Any, pcap: Path) -> None:
    ran = replay(pcap, "--policy", "tm-2022", "--json")
    assert ran.status == 0
    assert [(line["frame"], line["rule"], line["injections"], line["verdict"]) for line in ran.lines] == [
        (5, "http-host", 1, "pass"), (6, "dns", 1, "pass"),
    ]  # fmt: skip
    assert ran.lines[0]["flow"] == f"tcp {CLIENT}:40000 > {SERVER}:80"
    assert ran.lines[0]["evidence"]["http_host"] == "twitter.com" and ran.lines[0]["now"] == 1_660_000_000.5
    summary = json.loads(ran.err)
    assert {key: summary[key] for key in ("frames", "skipped", "cut", "unparsed", "from_inside", "injected")} == {
        "frames": 6, "skipped": 1, "cut": 0, "unparsed": 0, "from_inside": 4, "injected": 2,
    }  # fmt: skip
    assert summary["flows"] == {"tcp": 1, "udp": 1} and summary["dropped"] == 0
    assert summary["decisions"] == {"dns": 1, "http-host": 1}
    assert (summary["first"], summary["last"], summary["ends_early"]) == (1_660_000_000.0, 1_660_000_000.625, False)


def test_the_same_twice(replay: Any, pcap: Path) -> None:
    assert replay(pcap, "--policy", "tm-2022").text == replay(pcap, "--policy", "tm-2022").text != ""


def test_a_full_disk_is_told(pcap: Path) -> None:
    argv = [sys.executable, "-m", "testbed.cli.main", "replay", str(pcap), "--policy", "tm-2022"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "can't be written: No space left on device; make room, or write elsewhere"


def test_injected_packets_go_to_a_file_that_tshark_likes(replay: Any, pcap: Path, tmp_path: Path) -> None:
    made = tmp_path / "injected.pcapng"
    assert replay(pcap, "--policy", "tm-2022", "--injected", made).status == 0
    packets = rdpcap(str(made))
    assert [(packet.src, packet.dst, packet.id) for packet in packets] == [(SERVER, CLIENT, 30000)] * 2
    argv = ["tshark", "-r", str(made), "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-e", "frame.comment"]
    argv += ["-e", "tcp.checksum.status", "-e", "dns.a", "-e", "frame.time_epoch"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        ["for frame 5, toward inside", "1", "", "1660000000.500000000"],
        ["for frame 6, toward inside", "", "127.0.0.1", "1660000000.625000000"],
    ]


@pytest.mark.parametrize("form", ["pcapng", "nsecpcap", "gz"])
def test_other_formats_give_the_same_answer(replay: Any, pcap: Path, tmp_path: Path, form: str) -> None:
    expected, made = replay(pcap, "--policy", "tm-2022").text, tmp_path / "other"
    if form == "gz":
        made.write_bytes(gzip.compress(pcap.read_bytes()))
    else:
        subprocess.run(["editcap", "-F", form, str(pcap), str(made)], check=True)
    assert replay(made, "--policy", "tm-2022").text == expected


def test_standard_input(replay: Any, pcap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = replay(pcap, "--policy", "tm-2022").text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(pcap.read_bytes()))))
    assert replay("-", "--policy", "tm-2022").text == expected


def test_a_capture_of_first_bytes_says_so(replay: Any, pcap: Path, tmp_path: Path) -> None:
    made = tmp_path / "short.pcap"
    subprocess.run(["editcap", "-F", "pcap", "-s", "88", str(pcap), str(made)], check=True)
    ran = replay(made, "--policy", "tm-2022", "--json")
    assert [(line["frame"], line.get("cut")) for line in ran.lines] == [(5, True), (6, None)]
    assert json.loads(ran.err)["cut"] == 1


def test_another_inside(replay: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.pcap", conversation("192.168.7.7"))
    ran = replay(path, "--policy", "tm-2022")
    assert "no packet comes from inside" in ran.err and "--inside" in ran.err
    ran = replay(path, "--policy", "tm-2022", "--inside", "192.168.0.0/16", "--json")
    assert json.loads(ran.err)["from_inside"] == 4 and len(ran.lines) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Dear diary", "not a pcap or pcapng file; give a whole pcap"), (b"", "an empty file"),
        (None, "can't be read: No such file or directory; name a capture"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\3", "a damaged gzip file"),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_refused(replay: Any, tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.pcap"
    if content is not None:
        path.write_bytes(content)
    ran = replay(path, "--policy", "tm-2022")
    assert ran.status == 2 and ran.err.startswith(f"{path}: {said}")


def test_bad_options_are_refused(replay: Any, pcap: Path, tmp_path: Path) -> None:
    before = pcap.read_bytes()
    for argv, said in (
        (["--inside", "10.0.0.0/40"], "--inside: '10.0.0.0/40' is no prefix"),
        (["--injected", pcap], "--injected: this is the capture itself"),
        (["--injected", tmp_path / "no" / "where"], f"{tmp_path}/no/where: can't be written"),
    ):
        ran = replay(pcap, "--policy", "tm-2022", *argv)
        assert ran.status == 2 and ran.err.startswith(said)
    assert pcap.read_bytes() == before


def test_a_file_that_ends_inside_a_packet_is_told(replay: Any, pcap: Path) -> None:
    pcap.write_bytes(pcap.read_bytes()[:-5])
    ran = replay(pcap, "--policy", "tm-2022")
    assert ran.status == 0 and "ends inside a packet, behind frame 5" in ran.err and len(ran.lines) == 1


PROBING = """
policy: probing
title: Probes what it does not know
placement: in-path
rules:
  - name: probe
    match: {protocol: tcp, ports: [80]}
    action: {probe: {}}
    evidence: {mark: U, source: none}
"""


def test_a_link_type_that_is_not_read_is_told(replay: Any, pcap: Path) -> None:
    assert "link type" not in replay(pcap, "--policy", "tm-2022").err
    raw = pcap.read_bytes()
    pcap.write_bytes(raw[:20] + (127).to_bytes(4, "little") + raw[24:])
    ran = replay(pcap, "--policy", "tm-2022")
    assert ran.status == 0 and "frames of link type 127 are not read" in ran.err


def test_what_a_replay_can_not_do_is_told(replay: Any, pcap: Path, tmp_path: Path) -> None:
    policy = tmp_path / "probing.yaml"
    policy.write_text(PROBING)
    ran = replay(pcap, "--policy", policy)
    assert ran.status == 0 and "offline nobody makes them" in ran.err
