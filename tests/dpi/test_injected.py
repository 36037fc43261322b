"""Every kind of packet that a shipped policy injects, judged by tshark: checksums right, nothing malformed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.scenario.topology import GROUPS
from testbed.wire.pcap import PcapngWriter
from tests.dpi.playbook import Playbook, Send, between, client_hello, data, opened, playbook, query, request

RAW_IP = 101
OFFENCES: dict[str, list[Send]] = {
    "tm-2022": [query("twitter.com"), query("twitter.com", "AAAA", edns=True), request("twitter.com"),
                client_hello("twitter.com", 80)],
    "tm-2020": [client_hello("addons.mozilla.org")],
    "tm-2021": [query("twitter.com"), request("twitter.com"), query("twitter.com", edns=True)],
    "china": [query("www.google.com"), query("www.google.com", "AAAA"), request("www.google.com"),
              client_hello("www.google.com", 80)],
    "henan": [request("shop.com.au"), client_hello("shop.com.au", 80)],
    "iran-2020": [query("www.bbc.com"), request("www.bbc.com"), client_hello("www.bbc.com", 80)],
    "india-airtel": [request("thepiratebay.org")],
    "allow-list": [query("any.example")],
    "geneva-3": [data(b"ultrasurf", 80)],
    "geneva-8b": [data(b"ultrasurf", 80)],
}  # fmt: skip


def injected(policy: str) -> Iterator[bytes]:
    for number, offence in enumerate(OFFENCES[policy]):
        sport = 41000 + 10 * list(OFFENCES).index(policy) + number  # tshark keeps connections apart by it
        book: Playbook = playbook(Engine(load_policy(policy, GROUPS), seed=1))
        port = 443 if b"addons" in bytes(offence.packet) else 80
        found = (opened(book, port, sport=sport) >> between(offence, sport=sport)).last.injections
        assert found, (policy, offence.text)
        yield from (item.raw for item in found)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Return, for each packet, its policy and what tshark says of it."""
    assert shutil.which("tshark"), "scripts/setup installs it"
    path: Path = tmp_path_factory.mktemp("injected") / "all.pcapng"
    owners: list[str] = []
    with path.open("wb") as stream:
        writer = PcapngWriter(stream, linktype=RAW_IP)
        for policy in OFFENCES:
            for raw in injected(policy):
                writer.write(float(len(owners)), raw, comment=None)
                owners.append(policy)
    options = [f"{layer}.check_checksum:TRUE" for layer in ("ip", "tcp", "udp")]
    fields = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "_ws.malformed", "_ws.col.Protocol")
    shown = subprocess.run(
        ["tshark", "-r", str(path), *(word for option in options for word in ("-o", option)), "-T", "fields",
         *(word for field in fields for word in ("-e", field))],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(shown) == len(owners)
    return [[owner, *line.split("\t")] for owner, line in zip(owners, shown, strict=True)]


def test_checksums_are_right(seen: list[list[str]]) -> None:
    for owner, of_ip, of_tcp, of_udp, *_ in seen:
        assert (of_ip, of_tcp or "1", of_udp or "1") == ("1", "1", "1"), owner


def test_nothing_is_malformed_but_the_answer_of_2021_to_edns(seen: list[list[str]]) -> None:
    broken = [owner for owner, *_, malformed, protocol in seen if malformed or "Malformed" in protocol]
    assert broken in ([], ["tm-2021"]), broken


def test_answers_and_pages_are_understood(seen: list[list[str]]) -> None:
    protocols = {(owner, line[-1]) for owner, *line in seen}
    assert {("china", "DNS"), ("iran-2020", "HTTP"), ("india-airtel", "HTTP"), ("allow-list", "DNS")} <= protocols
