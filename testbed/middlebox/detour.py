"""The kernel's part of an interception: packets of flows that were taken over end here instead of crossing.

    prerouting                                      routing                     postrouting
    SYN: its flow leaves `taken`                      mark: everything is local   out by lo with the mark: the flow
    flow in `taken`, either direction: mark ────▶     ────▶ the box's sockets     joins `taken`

A packet is brought in by sending it through lo with the mark: that delivers it to the box's own sockets as if it had
come from the wire, and teaches the kernel its flow in the same step. A table of its own, made once: `kernel` replaces
its table at each change of policy, and flows that were taken over must outlive that.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from testbed import proc
from testbed.errors import MachineError

TABLE = "testbed_detour"
MARK = 0x80000
"""Beside the marks of `kernel`."""
_ROUTES = "100"
_IDLE_S = 600
_MOST = 16384
_FAMILIES = {4: ("ip", "ipv4_addr", ["ip"], "0.0.0.0/0"), 6: ("ip6", "ipv6_addr", ["ip", "-6"], "::/0")}


def ruleset(*, ipv6: bool) -> str:
    """Return the tables, one for each family, as `nft -f` reads them."""
    return "".join(_table(version) for version in _versions(ipv6))


def _versions(ipv6: bool) -> tuple[int, ...]:
    return (4, 6) if ipv6 else (4,)


def _table(version: int) -> str:
    family, address, _, _ = _FAMILIES[version]
    ahead = f"{family} saddr . tcp sport . {family} daddr . tcp dport"
    back = f"{family} daddr . tcp dport . {family} saddr . tcp sport"
    return f"""table {family} {TABLE} {{
  set taken {{
    type {address} . inet_service . {address} . inet_service
    flags dynamic,timeout
    timeout {_IDLE_S}s
    size {_MOST}
  }}
  chain prerouting {{
    type filter hook prerouting priority -170; policy accept;
    tcp flags & (syn | ack) == syn delete @taken {{ {ahead} }} delete @taken {{ {back} }} accept
    {ahead} @taken update @taken {{ {ahead} }} meta mark set {MARK:#x} accept
    {back} @taken meta mark set {MARK:#x} accept
  }}
  chain postrouting {{
    type filter hook postrouting priority 290; policy accept;
    oif "lo" meta mark {MARK:#x} update @taken {{ {ahead} }}
  }}
}}
"""


def _commands(ipv6: bool) -> Iterator[list[str]]:
    for version in _versions(ipv6):
        _, _, ip, everywhere = _FAMILIES[version]
        yield [*ip, "rule", "add", "pref", _ROUTES, "fwmark", f"{MARK:#x}", "lookup", _ROUTES]
        yield [*ip, "route", "add", "local", everywhere, "dev", "lo", "table", _ROUTES]


class Detour:
    """The rules, in place until the net goes, and the way in for packets that the box has in its hands."""

    def __init__(self, *, ipv6: bool) -> None:
        try:
            proc.run(["nft", "-f", "-"], input=ruleset(ipv6=ipv6))
            for argv in _commands(ipv6):
                proc.run(argv)
        except proc.CommandError as error:
            raise MachineError(
                f"the kernel refuses the rules of an interception: {error}", "`testbed doctor` tries what it needs"
            ) from None
        self._raw = {4: _marked(socket.AF_INET)}
        if ipv6:
            self._raw[6] = _marked(socket.AF_INET6)

    def bring_in(self, raw: bytes) -> None:
        """Deliver a client's packet to the box's own sockets; from now on its flow ends here."""
        if raw[0] >> 4 == 4:
            self._raw[4].sendto(raw, (socket.inet_ntoa(raw[16:20]), 0))
        else:
            self._raw[6].sendto(raw, (socket.inet_ntop(socket.AF_INET6, raw[24:40]), 0))

    def close(self) -> None:
        """Close the sockets; the rules stay, for what is still under way."""
        for raw in self._raw.values():
            raw.close()


def _marked(family: int) -> socket.socket:
    raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    if family == socket.AF_INET:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    return raw
