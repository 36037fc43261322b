"""One side's TCP stream as a censor puts it together: as it arrives, in order only, or in full with overlaps.

Bounded: no more than `longest` bytes are kept, and a segment further ahead than that is not believed.

Hosts differ in which copy of bytes that came twice they take, so a censor that misses nothing keeps both (`either`):
the stream with the first copies, and from the first difference on a second one with the last. An urgent byte (RFC 6093)
is no part of the stream to most servers, so it too is there in the first and left out of the second.
"""

from __future__ import annotations

_HALF, _MASK = 1 << 31, 0xFFFFFFFF
_MOST_URGENT = 256


class Stream:
    """The bytes so far. `base` is the sequence number of the first byte."""

    __slots__ = ("_data", "_known", "_second", "_settled", "_urgent", "base", "longest", "read_bytes")

    def __init__(self, base: int, longest: int) -> None:
        self.base, self.longest = base & _MASK, longest
        self._data = bytearray()
        self._known: list[tuple[int, int]] = []
        """Which parts are filled: sorted, apart from each other."""
        self._second: Stream | None = None
        self._urgent: set[int] = set()
        self._settled = 0
        """So many bytes from the start stay as they are."""
        self.read_bytes = 0
        """So many bytes from the start are messages that were read before."""

    @property
    def content(self) -> bytes:
        """The contiguous bytes from the start."""
        end = self._known[0][1] if self._known and self._known[0][0] == 0 else 0
        return bytes(self._data[:end])

    @property
    def second_content(self) -> bytes | None:
        """The contiguous bytes with the last copy of each and without urgent ones, where there was a choice."""
        if self._second is None and not self._urgent:
            return None
        content = bytearray((self._second or self).content)
        for at in sorted(self._urgent, reverse=True):
            del content[at : at + 1]
        return bytes(content)

    def mark_urgent(self, seq: int) -> None:
        """Take a byte for an urgent one."""
        at = (seq - self.base) & _MASK
        if at < self.longest and len(self._urgent) < _MOST_URGENT:
            self._urgent.add(at)

    @property
    def next_seq(self) -> int:
        """The sequence number that would continue the contiguous bytes."""
        end = self._known[0][1] if self._known and self._known[0][0] == 0 else 0
        return (self.base + end) & _MASK

    @property
    def is_full(self) -> bool:
        """Say whether nothing more is kept."""
        return bool(self._known) and self._known[0] == (0, self.longest)

    def settle(self, seq: int) -> None:
        """Keep the contiguous bytes before a sequence number as they are: their receiver has acknowledged them."""
        before = (seq - self.base) & _MASK
        if before < _HALF:
            self._settled = max(self._settled, min(before, (self.next_seq - self.base) & _MASK))
            if self._second is not None:
                self._second.settle(seq)

    def add(self, seq: int, payload: bytes, mode: str) -> bytes:
        """Take a segment in one of the modes of `Parser.reassembly`; return the contiguous bytes."""
        at = (seq - self.base) & _MASK if mode != "arrival" else len(self._data)
        if at >= _HALF:  # begins before the stream: the part inside counts
            payload = payload[_MASK + 1 - at :]
            at = 0
        if at < self._settled:
            payload, at = payload[self._settled - at :], self._settled
        if mode == "in-order" and at != (self._known[0][1] if self._known else 0):
            return self.content
        payload = payload[: max(0, self.longest - at)]
        if mode == "either" and payload:
            if self._second is None and self._differs(at, payload):
                self._second = self._copy()
            if self._second is not None:
                self._second._fill(at, payload, last_wins=True)
        if payload:
            self._fill(at, payload, last_wins=mode == "last-wins")
        return self.content

    def _differs(self, at: int, payload: bytes) -> bool:
        """Say whether a segment says something else than what is known."""
        spans = ((max(at, low), min(at + len(payload), high)) for low, high in self._known)
        return any(low < high and self._data[low:high] != payload[low - at : high - at] for low, high in spans)

    def _copy(self) -> Stream:
        twin = Stream(self.base, self.longest)
        twin._data, twin._known, twin._settled = bytearray(self._data), list(self._known), self._settled
        return twin

    def _fill(self, at: int, payload: bytes, *, last_wins: bool) -> None:
        end = at + len(payload)
        if len(self._data) < end:
            self._data.extend(bytes(end - len(self._data)))
        kept = [] if last_wins else [(low, high) for low, high in self._known if low < end and at < high]
        saved = [(low, bytes(self._data[low:high])) for low, high in kept]
        self._data[at:end] = payload
        for low, content in saved:
            self._data[low : low + len(content)] = content
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*self._known, (at, end)]):
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self._known = merged
