"""The bounded table: who is known, from both directions, who goes first, and that it is told."""

from __future__ import annotations

from testbed.dpi.flow import IDLE_S, FlowTable, mirrored

V4 = bytes([100, 64, 1, 1, 198, 19, 3, 4]) + (40000).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes(range(32)) + V4[8:]


def key(port: int) -> bytes:
    return V4[:8] + port.to_bytes(2, "big") + V4[10:]


def test_both_directions_are_one_flow() -> None:
    for own in (V4, V6):
        table = FlowTable(10)
        flow = table.get(6, own, True, 1.0)
        assert table.get(6, mirrored(own), False, 2.0) is flow
        assert mirrored(mirrored(own)) == own
        assert (flow.client[1], flow.server[1]) == (40000, 443)
        assert flow.client[0] + flow.server[0] == own[:-4]


def test_a_flow_idle_for_too_long_is_another() -> None:
    table = FlowTable(10)
    flow = table.get(6, V4, True, 1.0)
    assert table.get(6, V4, True, 1.0 + IDLE_S) is flow
    again = table.get(6, mirrored(V4), False, 2.0 + 2 * IDLE_S)
    assert again is not flow
    assert again.key == mirrored(V4)
    assert len(table) == 1


def test_the_silent_go_first_and_are_counted() -> None:
    table = FlowTable(3)
    for port in (1, 2, 3):
        table.get(6, key(port), True, 1.0)
    table.get(6, key(1), True, 2.0)
    table.get(6, key(4), True, 3.0)
    assert {flow.client[1] for flow in table} == {1, 3, 4}
    assert table.evicted == 1
    for port in range(10, 1010):
        table.get(6, key(port), True, 4.0)
    assert len(table) == 3
    assert table.evicted == 1001
    assert len(table.by_key) == 6


def test_the_idle_make_room_before_the_table_is_full() -> None:
    table = FlowTable(1000)
    for port in range(1, 101):
        table.get(6, key(port), True, 1.0)
    spoken = table.get(6, key(1), True, IDLE_S)
    for port in range(101, 202):
        table.get(6, key(port), True, 2.0 + IDLE_S)
    assert {flow.client[1] for flow in table} == {1, *range(101, 202)}
    assert table.get(6, key(1), True, 2.0 * IDLE_S) is spoken
    assert table.evicted == 0
    assert len(table.by_key) == 2 * 102


def test_a_flow_that_was_idle_and_came_again_keeps_its_place() -> None:
    table = FlowTable(10)
    table.get(6, key(1), True, 1.0)
    again = table.get(6, key(1), True, 2.0 + IDLE_S)
    for port in range(2, 5):
        table.get(6, key(port), True, 3.0 + IDLE_S)
    assert table.get(6, mirrored(key(1)), False, 4.0 + IDLE_S) is again
    assert len(table) == 4
