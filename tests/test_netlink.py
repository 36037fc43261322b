"""The kernel's own dumps, held against what `tc` says of the same namespace."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess

import pytest

from testbed.middlebox.qdiscs import Disciplines
from testbed.netlink import attribute, attributes


def test_attributes_are_padded_and_read_back() -> None:
    data = attribute(1, b"tbf\0") + attribute(0x8002, b"x") + attribute(3, struct.pack("=Q", 7))
    assert len(data) == 8 + 8 + 12
    assert attributes(data) == {1: b"tbf\0", 2: b"x", 3: struct.pack("=Q", 7)}


@pytest.mark.parametrize("cut", [b"", b"\x04", b"\x03\x00\x01\x00", b"\xff\xff\x01\x00ab"])
def test_what_is_cut_short_ends_the_attributes(cut: bytes) -> None:
    assert attributes(attribute(1, b"a") + cut).keys() - {1} <= {1}
    assert attributes(attribute(1, b"a") + cut)[1] in (b"a", b"ab")


def test_every_port_has_the_disciplines_that_tc_shows() -> None:
    ports = [name for _, name in socket.if_nameindex()]
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    shown = json.loads(subprocess.run(["tc", "-j", "qdisc", "show"], env={"PATH": path}, capture_output=True, text=True,
                                      check=True).stdout)  # fmt: skip
    disciplines = Disciplines()
    found = disciplines.of(*ports)
    disciplines.close()
    for port, kinds in zip(ports, found, strict=True):
        assert kinds.keys() == {entry["kind"] for entry in shown if entry.get("dev") == port}
