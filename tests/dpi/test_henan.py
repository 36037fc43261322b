"""Henan's box alone, and in front of China's (facts/censors.md)."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP

from testbed.dpi.decision import Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.scenario.load import load_scenario
from tests.dpi.one_rule import injected, sides
from tests.dpi.playbook import (
    CLIENT,
    INSIDE,
    PEER_ISN,
    SERVER,
    Playbook,
    Send,
    ack,
    between,
    client_hello,
    data,
    hello_bytes,
    opened,
    playbook,
    request,
    rule,
    silence,
    syn,
    syn_ack,
    wait,
)

ONLY_HERE, IN_CHINA, ON_BOTH = "shop.com.au", "www.youtube.com", "www.epochtimes.com"


@pytest.fixture
def book() -> Playbook:
    return playbook(Engine(load_policy("henan"), seed=1))


@pytest.mark.parametrize(("step", "by"), [(client_hello(ONLY_HERE), "tls-sni"), (request(ONLY_HERE, 443), "http-host")])
def test_the_client_alone_gets_one_rst_ack_with_ten_bytes(book: Playbook, step: Send, by: str) -> None:
    opened(book) >> step << rule(by)
    (packet,) = injected(book.last)
    assert sides(book.last) == [INSIDE]
    assert (packet[IP].dst, str(packet[TCP].flags), len(packet[TCP].payload)) == (CLIENT, "RA", 10)
    assert packet[TCP].seq == PEER_ISN + 1


def test_nothing_stays_behind(book: Playbook) -> None:
    opened(book) >> client_hello(ONLY_HERE)
    book >> wait(1) >> ack() << silence()
    book >> syn() << silence()


def test_traffic_into_the_province_is_not_looked_at(book: Playbook) -> None:
    for step in (syn(), syn_ack(), ack(), client_hello(ONLY_HERE)):
        book >> between(step, client=SERVER, server=CLIENT, from_outside=True) << silence()


def test_segments_evade(book: Playbook) -> None:
    hello = hello_bytes(ONLY_HERE)
    opened(book) >> data(hello[:20]) << silence() >> data(hello[20:], offset=20) << silence()


def through_both(name: str) -> list[tuple[str, int, str]]:
    """Send a hello through Henan's box, then China's; return who reset whom, with how many bytes inside."""
    boxes = {
        box: Engine(load_policy(policy), seed=1) for box, policy in load_scenario("two-walls").box_policies.items()
    }
    found = []
    for step in (syn(), syn_ack(), ack(), client_hello(name)):
        order = list(boxes.items())
        for box, engine in order if step.side is Side.INSIDE else reversed(order):
            decision = engine.receive(bytes(step.packet), step.side, 1.0)
            for item in decision.injections:
                found.append((box, len(IP(item.raw)[TCP].payload), item.toward.value))
    return found


def test_two_walls_in_one_path() -> None:
    henan, china = [("gateway", 10, "inside")], [("national", 0, "inside")] * 3 + [("national", 0, "outside")] * 3
    assert through_both(ONLY_HERE) == henan
    assert sorted(through_both(IN_CHINA)) == sorted(china)
    assert sorted(through_both(ON_BOTH)) == sorted(henan + china)
    assert through_both("any.example") == []
