"""The part of `kernel_inside` about the short cut: who carries which segment of a passed TCP flow, to what end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.dpi.decision import Side
from testbed.middlebox import kernel
from testbed.middlebox.shortcut import LEASE_S
from tests.live.line import CLIENT, CLIENT6, SERVER, SERVER6, Box, Line

if TYPE_CHECKING:
    from tests.live.kernel_inside import Wire

_MTU = 1300
_ICMP = socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6
_POLICY = """policy: bulk
title: t
placement: in-path
parser: {packets_inspected: 4}
rules:
  - {name: host, match: {http_host: {patterns: [=blocked.example]}}, action: {drop: flow},
     evidence: {mark: U, source: test}}
"""


def bulk(line: Line, wire: Wire, folder: Path) -> dict[str, Any]:
    """Send segments of all kinds of one passed flow of each version of IP; of each kind, tell what became of it."""
    path = folder / "bulk.yaml"
    path.write_text(_POLICY)
    line.fabric.run("gw", ["ip", "link", "set", "gw-out", "mtu", str(_MTU)])
    box = line.box(path, "bulk")
    found: dict[str, Any] = {
        f"{what}{version}": seen
        for version in (4, 6)
        for what, seen in _Flow(line, wire, box, version).fates(str(path)).items()
    }
    found["copies on loopback"] = line.fabric.run("gw", ["cat", "/sys/class/net/lo/statistics/rx_packets"]).stdout
    box.end()
    line.fabric.run("gw", ["ip", "link", "set", "gw-out", "mtu", "1500"])
    return found


class _Flow:
    """One TCP flow, played onto the cables."""

    def __init__(self, line: Line, wire: Wire, box: Box, version: int) -> None:
        from scapy.all import IP, TCP, IPv6

        self._line, self._wire, self._box, self._version = line, wire, box, version
        layer, self._tcp = (IP, TCP) if version == 4 else (IPv6, TCP)
        here, there = (CLIENT, SERVER) if version == 4 else (CLIENT6, SERVER6)
        more = {"flags": "DF"} if version == 4 else {}
        self._out, self._back = layer(src=here, dst=there, **more), layer(src=there, dst=here, **more)

    def segment(self, size: int = 1000, *, tcp: str = "A", out: bool = True, **header: Any) -> tuple[bytes, Side]:
        """Return a segment with that much data, and the side it comes from."""
        base, ports = (self._out, (47000, 80)) if out else (self._back, (80, 47000))
        packet = base.copy()
        for name, value in header.items():
            packet.setfieldval(name if self._version == 4 or name != "ttl" else "hlim", value)
        layer = self._tcp(sport=ports[0], dport=ports[1], flags=tcp, seq=2 if "S" not in tcp else 1, ack=2)
        return bytes(packet / layer / (b"bulk" * (size // 4))), Side.INSIDE if out else Side.OUTSIDE

    def _decide(self) -> None:
        """Go on until the engine has handed the flow over, and a segment has told the short cut so."""
        for out, flags in ((True, "S"), (False, "SA")):
            self._wire.send(*self.segment(0, tcp=flags, out=out))
            time.sleep(0.01)
        for _ in range(7):
            self._wire.send(*self.segment(100, tcp="PA"))
            time.sleep(0.01)

    def _cut(self) -> int:
        listed = self._line.fabric.run("gw", ["nft", "-j", "list", "counter", "netdev", kernel.TABLE, kernel.PASSED])
        items = json.loads(listed.stdout)["nftables"]
        return next(int(item["counter"]["packets"]) for item in items if "counter" in item)

    def _fate(self, *segments: tuple[bytes, Side]) -> dict[str, Any]:
        for side in Side:
            self._wire.arrivals(side)
        before, cut = self._box.ask(op="stats"), self._cut()
        for segment in segments:
            self._wire.send(*segment)
        time.sleep(0.05)
        after = self._box.ask(op="stats")
        came = [data for side in Side for data in self._wire.arrivals(side)]
        kind, lives, payload = (9, 8, 20) if self._version == 4 else (6, 7, 40)
        arrived = [data for data in came if data[kind] == socket.IPPROTO_TCP]
        errors = [data for data in came if data[kind] in _ICMP]
        return {
            "arrived": len(arrived), "lives": sorted({data[lives] for data in arrived}),
            "errors": [list(data[payload : payload + 2]) for data in errors],
            "engine": after["packets"] - before["packets"], "cut": self._cut() - cut,
            "kernel": after["kernel"]["passed"] - before["kernel"]["passed"],
        }  # fmt: skip

    def fates(self, policy: str) -> dict[str, dict[str, Any]]:
        """Return what became of each kind."""
        from scapy.all import IPOption

        segment: Callable[..., tuple[bytes, Side]] = self.segment
        self._decide()
        found = {
            "out": self._fate(*[segment()] * 20),
            "back": self._fate(*[segment(out=False)] * 20),
            "short": self._fate(*[segment(0)] * 20),
            "end of a burst": self._fate(*[segment(tcp="PA", out=False)] * 20),
            "last hop": self._fate(segment(ttl=1)),
            "too big": self._fate(segment(1400)),
        }
        if self._version == 4:
            found["fragment"] = self._fate(segment(flags=1, id=9))  # more of it follows
            time.sleep(LEASE_S + 0.2)
            found["after its lease"] = self._fate(*[segment()] * 20)
            found["options"] = self._fate(segment(options=[IPOption(b"\x01\x01\x01\x00")]))
        self._box.ask(op="policy", policy=policy)
        found["after a change of policy"] = self._fate(*[segment()] * 2)
        self._decide()
        found["decided again"] = self._fate(*[segment()] * 20)
        self._wire.send(*segment(0, tcp="S"))
        time.sleep(0.05)
        found["after a new SYN"] = self._fate(*[segment()] * 2)
        return found
