"""How a censor follows TCP connections: what makes it remember one, lose one, and mistake one. A specification and the
table it compiles to.

A flow's *entry* is what the censor's own connection table holds; it moves by this table, one row an event (an event is
a segment by its flags; `…` stands for what the specification chooses):

    event      none                     tracked              blind    resync
    SYN        tracked if it opens      … if it renews       blind    tracked, with this sequence
    SYN+ACK    tracked if it opens      … if it renews       blind    tracked, with this sequence
    ACK        tracked if it opens      … if it renews       blind    tracked, with this sequence
    data       tracked if it opens      tracked              blind    tracked, with this sequence
    teardown   … if before_entry        blind, none, resync  blind    …

- *none*: data is inspected or not, as `without_entry` says.
- *tracked*: data is inspected; with `sequence: exact` only where its sequence number is the expected one.
- *blind*: nothing is inspected any more, until the flow has been idle for the time a table keeps it.
- *resync*: the next segment gives the sequence number, whoever forged it.

Knobs and presets follow the published flaws: Wang et al. 2017 (INTANG), Bock et al. 2019 (Geneva) and its mock
censors, Nourin et al. 2023 (facts/turkmenistan.md §1).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal

from pydantic import Field

from testbed.documents import Strict
from testbed.wire.tcp import ACK, FIN, RST, SYN


class Entry(IntEnum):
    """What the censor's table holds of a flow."""

    NONE = 0
    TRACKED = 1
    BLIND = 2
    RESYNC = 3


class Event(IntEnum):
    """A segment by its flags. `ACK` is a segment with that flag alone; `DATA` any other without SYN, RST and FIN."""

    DATA = 0
    ACK = 1
    SYN = 2
    SYN_ACK = 3
    RST = 4
    RST_ACK = 5
    FIN = 6
    FIN_ACK = 7


def event_of(flags: int) -> Event:
    """Return the event that a segment's flags make (RST before SYN before FIN, as stacks do)."""
    if flags & RST:
        return Event.RST_ACK if flags & ACK else Event.RST
    if flags & SYN:
        return Event.SYN_ACK if flags & ACK else Event.SYN
    if flags & FIN:
        return Event.FIN_ACK if flags & ACK else Event.FIN
    return Event.ACK if flags & 0x3F == ACK else Event.DATA


EVENTS = tuple(event_of(flags) for flags in range(256))
_OPENING: Mapping[str, Event] = {
    "syn": Event.SYN, "syn-ack": Event.SYN_ACK, "ack": Event.ACK, "data": Event.DATA,
}  # fmt: skip
_ENDING: Mapping[str, Event] = {"R": Event.RST, "RA": Event.RST_ACK, "F": Event.FIN, "FA": Event.FIN_ACK}
Opener = Literal["syn", "syn-ack", "ack", "data"]


class Teardown(Strict):
    """Which segments make the censor lose a flow, how carefully they are checked, and what it does then."""

    flags: tuple[Literal["R", "RA", "F", "FA"], ...] = ("R", "RA")
    """The flags of such a segment; empty: nothing tears a flow down."""
    sender: Literal["either", "client", "server"] = "either"
    """Whose segments count."""
    checks: Literal["nothing", "addresses", "4-tuple", "sequence"] = "4-tuple"
    """What must fit: nothing (any such segment of anybody blinds it for all), both addresses, the 4-tuple, the 4-tuple
    and the exact sequence number."""
    checksum: bool = False
    """Only one with a right checksum counts."""
    before_entry: bool = True
    """It counts even where the table holds nothing yet (`RST before SYN`)."""
    effect: Literal["blind", "forget", "resync"] = "blind"
    """What becomes of the entry, as in the table above."""


class Tracking(Strict):
    """How connections are followed."""

    entries: Literal["many", "one"] = "many"
    """One: a single entry whatever the flow, as in Geneva's simplest mock censors."""
    opens: tuple[Opener, ...] = ("syn", "syn-ack", "ack", "data")
    """Segments that make an entry."""
    renews: tuple[Opener, ...] = ()
    """Segments that give a tracked flow a new sequence number."""
    renews_takes: Literal["its-own", "one-more"] = "its-own"
    """What such a segment gives: its own sequence number, or the old one and one more (a flaw of a mock censor)."""
    without_entry: Literal["inspect", "ignore"] = "inspect"
    """What happens to data of a flow that the table doesn't hold."""
    sequence: Literal["any", "exact"] = "any"
    """`exact`: only a segment that continues the sequence is inspected."""
    teardown: Teardown = Teardown()
    server_confirms: bool = False
    """The server's word counts: of several SYNs the one that its SYN+ACK acknowledges opens the connection, and bytes
    that it has acknowledged are not overwritten."""
    inspects_syn: bool = False
    """Data in a SYN (TCP Fast Open, RFC 7413) is inspected."""
    resync_inspects: bool = True
    """The segment that gives the new sequence number is itself inspected."""
    resync_takes: Literal["any", "expected"] = "any"
    """The segment that ends `resync`: any of the flow, or the one that continues the old sequence."""
    literal: bool = False
    """To the letter of Geneva's mock censors: flags count exactly as they stand (a SYN with ECN's bits is none), an
    entry is one direction's, and `entries: one` means one sequence number for all (`testbed/dpi/literal.py`)."""
    table: int = Field(default=1_000_000, ge=1)
    """Flows held at most; the one that was silent longest goes first, and is counted."""

    def transitions(self) -> dict[tuple[Entry, Event], Entry]:
        """Return the table above for this specification."""
        table: dict[tuple[Entry, Event], Entry] = {}
        opening = {_OPENING[name] for name in self.opens}
        ending = self.ending
        torn = {"blind": Entry.BLIND, "forget": Entry.NONE, "resync": Entry.RESYNC}[self.teardown.effect]
        for event in Event:
            table[Entry.NONE, event] = Entry.TRACKED if event in opening else Entry.NONE
            table[Entry.TRACKED, event] = Entry.TRACKED
            table[Entry.BLIND, event] = Entry.BLIND
            table[Entry.RESYNC, event] = Entry.TRACKED
            if event in ending:
                table[Entry.TRACKED, event] = torn
                table[Entry.NONE, event] = torn if self.teardown.before_entry else Entry.NONE
                table[Entry.RESYNC, event] = torn
        return table

    @property
    def ending(self) -> frozenset[Event]:
        """The events that may tear a flow down."""
        return frozenset(_ENDING[name] for name in self.teardown.flags)

    @property
    def renewing(self) -> frozenset[Event]:
        """The events that give a tracked flow a new sequence number."""
        return frozenset(_OPENING[name] for name in self.renews)
