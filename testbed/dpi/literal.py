"""Follows TCP as the code of Geneva's mock censors does: a `Tracking` specification with `literal`.

What sets such a censor apart from the usual tracker, and what strategies are bred on:

- A segment is a SYN, an ACK, an RST by *exactly* these flags: a SYN with ECN's bits, or `FRAPUEN`, is plain data to it.
- An entry belongs to one direction, that of the packet which made it; the single entry of `entries: one` has one
  number for all. With `checks: nothing` that number is all there is: any packet that bears it continues the sequence.
- A renewing segment is taken at its word, and itself not looked at. Where there are many entries, one that continues
  the sequence renews nothing.
- Each SYN that renews with `one-more` puts the entry into the table again, and a teardown takes one out.
- Who verifies checksums computes them from what Scapy reads and writes back, so that data read as broken options (by a
  data offset too high) makes one wrong.
- What tore a connection down binds every rule, whatever its `teardown` says.

Source: github.com/Kkevsterrr/geneva, censors/ (Bock et al. 2019). Its numbers don't wrap at 2**32; these do.
"""

from __future__ import annotations

from testbed.dpi.flow import Flow, mirrored
from testbed.dpi.parser import Parser
from testbed.dpi.sight import Sight
from testbed.dpi.tracker import Tracker
from testbed.dpi.tracking import Entry, Event, Tracking

_MASK = 0xFFFFFFFF
_EXACTLY = {
    0x02: Event.SYN, 0x12: Event.SYN_ACK, 0x10: Event.ACK, 0x04: Event.RST, 0x14: Event.RST_ACK, 0x01: Event.FIN,
    0x11: Event.FIN_ACK,
}  # fmt: skip


class Record:
    """One entry: its state, the key of the packets of whoever made it, the number due next, how often it is held."""

    __slots__ = ("copies", "entry", "key", "number")

    def __init__(self) -> None:
        self.entry, self.key, self.copies = Entry.NONE, b"", 0
        self.number: int | None = None


class LiteralTracker(Tracker):
    """A tracker by the letter of the mock censors."""

    def __init__(self, tracking: Tracking, parser: Parser) -> None:
        super().__init__(tracking, parser)
        self._simple = False
        self._one = Record() if tracking.entries == "one" else None

    def believes(self, sight: Sight, flow: Flow, from_client: bool) -> bool:
        """Say whether a segment passes what the censor verifies."""
        if self._parser.verify_checksum and not _are_whole(_options(sight)):
            return False
        return super().believes(sight, flow, from_client)

    def _move(self, sight: Sight, flow: Flow, from_client: bool) -> bool:
        record = self._one or self._record(flow, from_client)
        event = _exact_event(sight)
        fits = record.number == sight.seq
        due = fits and self._is_its_own(record, sight.key)
        if self._gives_number(record, event, due):
            return self._take(record, event, sight)
        if event in self._ending and self._counts(record, sight, due):
            effect = self._spec.teardown.effect
            if effect == "forget":
                record.copies -= 1
                record.entry = Entry.TRACKED if record.copies else Entry.NONE
            else:
                record.entry = Entry.BLIND if effect == "blind" else Entry.RESYNC
            if effect != "resync":
                return False
        if record.entry is Entry.BLIND:
            return False
        if record.number is None or record.entry is Entry.NONE:
            return record.entry is Entry.TRACKED or self._spec.without_entry == "inspect"
        if due or (fits and not self._exact):
            record.number = (sight.seq + len(sight.payload)) & _MASK
            return True
        return not self._exact

    @staticmethod
    def _record(flow: Flow, from_client: bool) -> Record:
        deep = flow.more()
        if deep.books is None:
            deep.books = Record(), Record()
        record: Record = deep.books[0 if from_client else 1]
        return record

    def _is_its_own(self, record: Record, key: bytes) -> bool:
        spec = self._spec.teardown
        if self._one is None or spec.checks == "nothing" or key == record.key:
            return True
        return spec.sender == "either" and key == mirrored(record.key)

    def _gives_number(self, record: Record, event: Event, due: bool) -> bool:
        """Say whether a segment gives an entry its number."""
        if record.entry is Entry.BLIND:
            return False
        if record.entry is Entry.RESYNC and (self._spec.resync_takes == "any" or due):
            return True
        if record.entry is Entry.NONE:
            return event not in self._ending and self._table[Entry.NONE, _opening(event)] is Entry.TRACKED
        return event in self._renewing and (self._one is not None or not due)

    def _take(self, record: Record, event: Event, sight: Sight) -> bool:
        before, spec = record.entry, self._spec
        if before is not Entry.NONE and event in self._renewing and spec.renews_takes == "one-more":
            record.number = ((record.number or 0) + 1) & _MASK
        else:
            step = 1 if event is Event.SYN else len(sight.payload)
            if self._one is not None and event is Event.ACK and before is not Entry.RESYNC:
                step = 0  # geneva-4 skips no data of such a segment, geneva-11 does
            record.number = (sight.seq + step) & _MASK
        record.entry, record.key, record.copies = Entry.TRACKED, sight.key, record.copies + 1
        if before is Entry.RESYNC:
            return spec.resync_inspects
        return spec.inspects_syn if event is Event.SYN else spec.sequence == "any"

    def _counts(self, record: Record, sight: Sight, due: bool) -> bool:
        """Say whether a teardown segment counts."""
        spec = self._spec.teardown
        if record.entry is Entry.BLIND or (spec.checksum and not sight.checksum_ok):
            return False
        if record.entry is Entry.NONE:
            return spec.before_entry
        return due if spec.checks == "sequence" else self._is_its_own(record, sight.key)


def _exact_event(sight: Sight) -> Event:
    nonce = sight.raw[sight.header_len + 12] & 1
    return Event.DATA if nonce else _EXACTLY.get(sight.flags, Event.DATA)


def _options(sight: Sight) -> bytes:
    at = sight.header_len
    return sight.raw[at + 20 : min(at + (sight.raw[at + 12] >> 4) * 4, sight.total_len)]


def _are_whole(options: bytes) -> bool:
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return not any(options[at:])
        size = 1 if kind == 1 else options[at + 1] if at + 1 < len(options) else 0
        if size < 1 + (kind != 1) or at + size > len(options):
            return False
        at += size
    return True


def _opening(event: Event) -> Event:
    return event if event in (Event.SYN, Event.SYN_ACK, Event.ACK) else Event.DATA
