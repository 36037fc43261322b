"""The transition tables: what each specification compiles to."""

from __future__ import annotations

import pytest

from testbed.dpi.presets import PRESETS
from testbed.dpi.tracking import EVENTS, Entry, Event, Tracking, event_of
from testbed.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

NONE, TRACKED, BLIND, RESYNC = Entry


@pytest.mark.parametrize(
    ("flags", "event"),
    [
        (SYN, Event.SYN), (SYN | ACK, Event.SYN_ACK), (ACK, Event.ACK), (ACK | PSH, Event.DATA), (PSH, Event.DATA),
        (0, Event.DATA), (RST, Event.RST), (RST | ACK | PSH, Event.RST_ACK), (FIN, Event.FIN),
        (FIN | ACK | URG, Event.FIN_ACK), (SYN | RST, Event.RST), (SYN | FIN, Event.SYN),
    ],
)  # fmt: skip
def test_a_segment_is_an_event_by_its_flags(flags: int, event: Event) -> None:
    assert event_of(flags) is EVENTS[flags] is event


@pytest.mark.parametrize("preset", PRESETS)
def test_tables_are_whole_and_blindness_lasts(preset: str) -> None:
    table = Tracking.model_validate(PRESETS[preset]["tracking"]).transitions()
    assert set(table) == {(entry, event) for entry in Entry for event in Event}
    assert all(table[BLIND, event] is BLIND for event in Event)
    assert all(table[RESYNC, event] is not NONE or event >= Event.RST for event in Event)


@pytest.mark.parametrize(
    ("preset", "entry", "event", "after"),
    [
        ("tm-2022", NONE, Event.DATA, TRACKED),
        ("tm-2022", NONE, Event.RST, BLIND),
        ("tm-2022", TRACKED, Event.FIN, TRACKED),
        ("gfw", NONE, Event.DATA, NONE),
        ("gfw", NONE, Event.RST, NONE),
        ("gfw", TRACKED, Event.RST, BLIND),
        ("strict", TRACKED, Event.RST, NONE),
        ("geneva-1", TRACKED, Event.RST, TRACKED),
        ("geneva-9", TRACKED, Event.FIN, RESYNC),
        ("geneva-11", NONE, Event.ACK, TRACKED),
    ],
)
def test_transitions(preset: str, entry: Entry, event: Event, after: Entry) -> None:
    assert Tracking.model_validate(PRESETS[preset]["tracking"]).transitions()[entry, event] is after
