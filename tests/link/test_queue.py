"""Several flows over one link: by tail drop as they come, or fairly, byte by byte."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.link.model import Chance, Dropped, LinkModel
from testbed.link.queue import Fair, Waiting
from testbed.link.spec import DirectionSpec

NOON = 43200.0
FAIR = {"time": "500 ms", "fair": True}


def link(**spec: Any) -> LinkModel[tuple[str, int]]:
    return LinkModel(DirectionSpec.model_validate({"rate": "0.5 Mbit/s", **spec}), seed=1)


def shares(model: LinkModel[tuple[str, int]], senders: dict[str, tuple[int, float]], seconds: float) -> Counter[str]:
    """Let each sender send packets of its size at its mean rate in bit/s; return the bytes of each that arrive.

    The gaps are exponential: evenly spaced senders in step with the link lock each other out (Floyd, Jacobson 1992).
    """
    moments: list[tuple[float, str, int]] = []
    for name, (size, rate) in senders.items():
        chance, now = Chance(len(name)), NOON
        while (now := now - math.log(1 - chance.draw()) * size * 8 / rate) < NOON + seconds:
            moments.append((now, name, size))
    for now, name, size in sorted(moments):
        model.enqueue(size, (name, size), now, name)
    found: Counter[str] = Counter()
    for _, (name, size) in model.due(NOON + seconds):
        found[name] += size
    return found


def test_a_fair_queue_gives_equal_bytes_whatever_the_packets_and_however_greedy_the_sender() -> None:
    senders = {"big": (1500, 2e6), "small": (120, 1e6), "mad": (700, 1e7)}
    found = shares(link(queue=FAIR), senders, 20)
    assert sum(found.values()) == pytest.approx(20 * 5e5 / 8, rel=0.01)
    for name in senders:
        assert found[name] == pytest.approx(20 * 5e5 / 8 / 3, rel=0.02), name


def test_tail_drop_shares_by_what_is_offered() -> None:
    senders = {"one": (1000, 1e6), "three": (1000, 3e6)}
    found = shares(link(), senders, 20)
    assert found["three"] / found["one"] == pytest.approx(3, rel=0.15)


def test_a_modest_flow_gets_all_it_asks_and_hardly_waits_beside_a_greedy_one() -> None:
    for queue, bound_s in ((FAIR, 3 * 1500 * 8 / 5e5), ("500 ms", 0.55)):
        model, waits, sent = link(queue=queue), [], 0
        for step in range(20_000):
            now = NOON + step * 0.001
            model.enqueue(1500, ("bulk", 0), now, "bulk")
            if step % 200 == 0:  # a call: 200 bytes five times a second
                sent += 1
                model.enqueue(200, ("call", step), now, "call")
            waits += [due - NOON - at * 0.001 for due, (name, at) in model.due(now) if name == "call"]
        assert max(waits) < bound_s
        if queue is FAIR:
            assert sent - 1 <= len(waits) <= sent


def test_the_longest_gives_way() -> None:
    model = link(rate="8 kbit/s", queue={"size": "3000 B", "fair": True})
    assert [model.enqueue(1000, ("a", n), NOON, "a") for n in range(4)] == [None] * 4
    assert model.enqueue(1000, ("b", 0), NOON, "b") is None  # a's last gives way for it
    assert model.enqueue(1000, ("a", 9), NOON, "a") is Dropped.QUEUE_FULL
    assert model.counters.overflowed == 2
    assert [item for _, item in model.due(NOON + 60)] == [("a", 0), ("a", 1), ("b", 0), ("a", 2)]


def test_a_queue_may_become_fair_while_packets_wait() -> None:
    model = link()
    for number in range(5):
        model.enqueue(1000, ("a", number), NOON, "a")
    model.change(DirectionSpec.model_validate({"rate": "0.5 Mbit/s", "queue": FAIR}), NOON + 0.001)
    assert [number for _, (_, number) in model.due(NOON + 1)] == [0, 1, 2, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(28, 1500) | st.none()), max_size=200))
def test_a_fair_queue_keeps_its_books_and_each_flows_order(steps: list[tuple[int, int | None]]) -> None:
    queue: Fair[tuple[int, int]] = Fair()
    inside: set[tuple[int, int]] = set()
    last = dict.fromkeys(range(4), -1)
    sizes: dict[tuple[int, int], int] = {}
    for number, (flow, size) in enumerate(steps):
        if size is None:
            packet = queue.pop()
            assert (packet is None) == (not inside)
            if packet is not None:
                inside.remove(packet.item)
                assert packet.item[1] > last[packet.item[0]]
                last[packet.item[0]] = packet.item[1]
        else:
            item = (flow, number)
            sizes[item] = size
            inside.add(item)
            dropped = queue.push(Waiting(size, item, False, 0.0, 0.0, False, 0.0), flow, 6000.0)
            if dropped is not None:
                inside.remove(dropped.item)
        assert queue.held == sum(sizes[item] for item in inside) <= 6000
