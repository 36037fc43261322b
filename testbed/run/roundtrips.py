"""The round trips of a run, measured where its outermost box stands: what its capture has seen go and come back.

That box is next to the link, and its outer side shows no packet that a censor made up for the inside. A run without
captures has the link's own log instead, and its lines say so (`kind` is `link`).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from testbed.link.roundtrips import RoundTrip, crossed, measured
from testbed.run import faithful
from testbed.run.country import LINK_PORTS, Country
from testbed.scenario.plan import TopologyPlan
from testbed.wire import pcap


def write(country: Country) -> None:
    """Write `roundtrips.jsonl`, as the packets go by; call it when the country has stopped."""
    box = outermost(country.spec.plan)
    raw = country.raw_capture(box, "outside")
    seen = country.spec.capture and box in country.spec.policies and raw.exists()
    found = _captured(country, raw) if seen else crossed(faithful.departures(country))
    with country.directory.round_trips.open("w", encoding="utf-8") as stream:
        for trip in found:
            if trip.t - trip.rtt_s >= 0:  # what came before is the country coming up
                rounded = {"t": round(trip.t, 6), "rtt_s": round(trip.rtt_s, 6)}
                stream.write(json.dumps({**trip._asdict(), **rounded}) + "\n")


def outermost(plan: TopologyPlan) -> str:
    """Return the node at the inner end of the link."""
    return next(cable.node_a for cable in plan.cables if cable.interface_b == LINK_PORTS[0])


def inside(plan: TopologyPlan) -> Callable[[bytes], bool]:
    """Return what says of an address whether a network inside holds it; it remembers what it was asked."""
    networks = [
        ipaddress.ip_interface(address).network
        for node in plan.nodes
        if node.side == "inside"
        for interface in node.interfaces
        for address in interface.addresses
    ]
    known: dict[bytes, bool] = {}

    def asks(address: bytes) -> bool:
        if address not in known:
            if len(known) >= 1 << 16:
                known.clear()
            known[address] = any(ipaddress.ip_address(address) in network for network in networks)
        return known[address]

    return asks


def _captured(country: Country, raw: Path) -> Iterator[RoundTrip]:
    start = country.clock.wall_start()
    with raw.open("rb") as source:
        for trip in measured(_packets(source), inside(country.spec.plan)):
            yield trip._replace(t=trip.t - start)


def _packets(source: BinaryIO) -> Iterator[tuple[float, memoryview]]:
    for record in pcap.read(source):
        packet = pcap.strip_link(record.linktype, record.data)
        if packet is not None:
            yield record.timestamp, packet
