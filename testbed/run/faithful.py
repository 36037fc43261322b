"""How faithful the link of a run was, whoever carried it: measured from its log, or from captures of both its sides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.link import fidelity, kernel, observe
from testbed.link.fidelity import Departure
from testbed.link.spec import DirectionSpec, LinkSpec
from testbed.middlebox.pipe import DEPARTURE
from testbed.run.country import LINK_PORTS, Country
from testbed.wire import pcap

#: the last words of tcpdump and of dumpcap
_DROPPED = re.compile(
    r"^(?:(\d+) packets? dropped by kernel|Packets received/dropped on interface .*: \d+/(\d+) )", re.MULTILINE
)


def measure(country: Country, stats: Mapping[str, Mapping[str, Any]], since: int = 0) -> dict[str, Any]:
    """Return the contents of `fidelity.json`; call it when the country has stopped.

    Of a link that was changed during the run no single rate or delay was asked. `since`: judge a part only, from so
    many bytes of the log of departures on, with what `stats` count from there.
    """
    link = country.spec.link
    if link is None:
        return fidelity.unshaped()
    if "link" not in stats:
        return fidelity.not_measured("the process of the link is gone")
    if link.uses_kernel:
        if stats["link"]["changed"]:
            return fidelity.not_measured("a link of the kernel was changed during the run")
        return _of_kernel(country, link, stats["link"])
    varies = stats["link"]["changed"] or bool(link.up.by_clock or link.down.by_clock)
    asked = {"backend": "user", "up": _asked(link.up, varies), "down": _asked(link.down, varies)}
    return fidelity.judge(read_departures(country.departures, since), stats["link"], asked)


def read_departures(path: Path, since: int = 0) -> list[Departure]:
    """Read the link's log from a byte on; a last record cut short is left out."""
    data = path.read_bytes()[since:]
    return [Departure(*entry) for entry in DEPARTURE.iter_unpack(data[: len(data) // DEPARTURE.size * DEPARTURE.size])]


def departures(country: Country) -> list[Departure]:
    """Return what the link says of the packets that crossed it, in seconds since the run's start; empty without one."""
    link = country.spec.link
    if link is None:
        return []
    if not link.uses_kernel:
        return read_departures(country.departures) if country.departures.exists() else []
    start = country.clock.wall_start()
    crossings = observe.crossings(*(list(_frames(country.link_capture(port))) for port in LINK_PORTS))
    return [
        Departure(c.direction, c.size, c.entered - start, c.left - start, c.left - start)
        for c in crossings
        if c.left is not None
    ]


def _asked(side: DirectionSpec, varies: bool) -> dict[str, Any]:
    if varies:
        return {"rate_bps": None, "delay_s": None, "jitter_s": None}
    return {"rate_bps": side.rate, "delay_s": side.delay, "jitter_s": side.jitter}


def _of_kernel(country: Country, link: LinkSpec, said: Mapping[str, Any]) -> dict[str, Any]:
    sides = (link.up, link.down)
    captures = [list(_frames(country.link_capture(port))) for port in LINK_PORTS]
    crossings = observe.crossings(captures[0], captures[1])
    lost = sum(_lost_by_capture(country.directory.log(f"capture-{port}")) for port in LINK_PORTS)
    stats: dict[str, Any] = {"queue_drops": lost, "oversize": observe.oversize(captures[0], captures[1])}
    asked: dict[str, Any] = {"backend": "kernel"}
    departures: list[Departure] = []
    for number, (name, side) in enumerate(zip(("up", "down"), sides, strict=True)):
        own = [crossing for crossing in crossings if crossing.direction == number]
        departures += observe.departures(own, side)
        stats[name] = observe.counters(own, side, int(said[name]["overflowed"]))
        asked[name] = {**_asked(side, False), "early_s": kernel.early_s(side)}
    return fidelity.judge(departures, stats, asked)


def _frames(path: Path) -> Iterator[observe.Frame]:
    with path.open("rb") as source:
        for record in pcap.read(source):
            yield observe.Frame(record.timestamp, record.data[14:], record.wire_length - 14)


def _lost_by_capture(log: Path) -> int:
    said = log.read_text(errors="replace") if log.exists() else ""
    return sum(int(one or other) for one, other in _DROPPED.findall(said))
