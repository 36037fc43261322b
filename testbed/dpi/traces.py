"""What names leave in the bytes of a DNS question (RFC 1035 §4.1), so that most questions need not be read at all.

Each pattern is filed under one word of four bytes that stands in every plain message whose question it hits; a message
with none of these words concerns no pattern, whatever it asks. Plain is a message in ASCII without a dot: it holds no
pointer, no letter of another case than bytes know, and no label that reads like two, so a name stands in it as it is
written. Its header and what follows the question only add words that mean nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from testbed.dpi.names import NameIndex, own_words, words

_MOST_PATTERNS = 10_000
"""Of longer lists some word stands in nearly every name."""
_LONGEST_LABEL_BYTES = 63


class Traces:
    """The words by which the patterns of some indexes are found."""

    def __init__(self, indexes: Sequence[NameIndex]) -> None:
        few = sum(map(len, indexes)) <= _MOST_PATTERNS
        choices = [_choices(pattern) for index in indexes for pattern in index.patterns()] if few else []
        seen = Counter(word for choice in choices for word in choice or ())
        self._words = frozenset(min(choice, key=seen.__getitem__) for choice in choices if choice)
        self._is_whole = bool(choices) and None not in choices

    def rule_out(self, message: bytes) -> bool:
        """Say whether a message, or what follows its ID, certainly asks for none of the names."""
        return (
            self._is_whole
            and message.isascii()
            and b"." not in message
            and self._words.isdisjoint(words(message.lower()))
        )


def _choices(pattern: str) -> list[int] | None:
    """Return the words of which each plain message that a pattern hits holds all; None if there are none.

    A pattern that no plain message can hit has an empty list.
    """
    if pattern[0] == "/":
        return None
    whole = pattern[0] != "*"
    labels = (pattern[1:] if whole else pattern[1:-1]).split(".")
    complete = labels if whole else labels[1:-1]
    if not pattern.isascii() or not all(0 < len(label) <= _LONGEST_LABEL_BYTES for label in complete):
        return []
    found = [word for run in _runs(labels, whole=whole) for word in own_words(run)]
    return found or None


def _runs(labels: Sequence[str], *, whole: bool) -> Iterator[bytes]:
    """Yield the runs of bytes that are known where labels stand in a message: before each, its length.

    Of a part of a name, the first may have begun before and the last may go on: that one's length is not known.
    """
    first, *others = [label.encode() for label in labels]
    if whole:
        yield b"".join(bytes([len(label)]) + label for label in (first, *others)) + b"\0"
        return
    yield first + b"".join(bytes([len(label)]) + label for label in others[:-1])
    yield from others[-1:]
