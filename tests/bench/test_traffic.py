"""The benches' traffic: the same bytes each time, and valid ones to tshark."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.wire import dns, http, ip, pcap, tcp, udp
from testbed.wire.framing import strip_link

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH))
    for name in [name for name in sys.modules if name.split(".")[0] == "traffic"]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("traffic")


def test_the_same_bytes_each_time(traffic: Any) -> None:
    sums = {hashlib.sha256(b"".join(traffic.packets(2000))).hexdigest() for _ in range(2)}
    assert len(sums) == 1
    assert b"".join(traffic.packets(2000, seed=2)) != b"".join(traffic.packets(2000))


def test_tshark_finds_names_and_nothing_wrong(traffic: Any, tmp_path: Path) -> None:
    path = tmp_path / "mixed.pcap"
    traffic.write(path, 6000)
    fields = ["dns.qry.name", "http.host", "tls.handshake.extensions_server_name", "quic.version", "_ws.malformed"]
    fields += ["ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"]
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", *(part for field in fields for part in ("-e", field))]
    # Noise may look like anything to a guessing dissector; what stands on the names' ports may not.
    argv += ["-Y", "tcp.port == 80 or tcp.port == 443 or udp.port == 53 or udp.port == 443"]
    argv += ["-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split("\t") for line in lines]
    queries, hosts, snis = (sum(bool(row[column]) for row in rows) for column in range(3))
    over_quic = sum(bool(row[2] and row[3]) for row in rows)
    assert min(queries, hosts, snis - over_quic, over_quic) > 20
    assert not [row for row in rows if row[4]]
    assert {status for row in rows for status in row[5:]} <= {"1", ""}


def test_our_parsers_find_the_names_that_tshark_finds(traffic: Any, tmp_path: Path) -> None:
    path = tmp_path / "mixed.pcap"
    traffic.write(path, 6000)
    argv = ["tshark", "-n", "-r", str(path), "-T", "fields", "-e", "dns.qry.name", "-e", "http.host", "-e", "dns.a"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    with path.open("rb") as source:
        ours = [names(record) for record in pcap.read(source)]
    assert ours == [tuple(line.split("\t")) for line in lines]


def names(record: pcap.Record) -> tuple[str, str, str]:
    """Return question, Host and answer of a frame, as tshark writes them."""
    data = strip_link(record.linktype, record.data)
    assert data is not None
    packet = ip.parse(data)
    if packet.proto == ip.TCP:
        request = http.parse_request(tcp.parse(packet.payload).payload)
        return "", (request.header("host") or "") if request else "", ""
    datagram = udp.parse(packet.payload)
    if 53 not in (datagram.sport, datagram.dport):
        return "", "", ""
    message = dns.parse(datagram.payload)
    return message.questions[0].name, "", ",".join(message.addresses())
