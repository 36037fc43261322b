"""Name lists as censors keep them: exact names, suffixes, and unanchored substrings that over-block.

A pattern is written `=exact.name`, `.suffix.name` (the name itself and everything under it), `*part*` (anywhere, so
`*twitter.com*` also hits `xtwitter.com`; facts §1, rule form) or `/regex/` (Python's, anywhere, any case; slow, asked
last). A list file has one pattern a line; `#` starts a comment.

Names are compared as the wire carries them, in lower case, international ones in their `xn--` form. A whole name may
end in a dot, in the pattern and on the wire. A pattern of a whole name may be written in Unicode and is turned into its
`xn--` form; a part of one can't be, since no part of a Unicode name has a fixed place in that form.

Theory of operation: whole names are set look-ups. For substrings, each part is filed under the one window of four
letters in it that the list's own names show most rarely; a name is a miss if none of its windows is filed, which one
call of `set.intersection` finds out in about a microsecond, however many parts there are (`bench/names.py`).
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_WINDOW = 4
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_USUAL_BYTES = 256
_SAMPLED_NAMES = 20_000


class NameIndex:
    """Finds the pattern that hits a name in time that hardly grows with the number of patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._suffix: set[str] = set()
        self._regexes: list[re.Pattern[str]] = []
        parts: dict[str, int] = {}
        for pattern in patterns:
            text = check_pattern(pattern)
            if text[0] == "=":
                self._exact.add(text[1:])
            elif text[0] == ".":
                self._suffix.add(text[1:])
            elif text[0] == "*":
                parts.setdefault(text[1:-1], len(parts))
            else:
                self._regexes.append(re.compile(text[1:-1], re.IGNORECASE))
        self._longest_suffix = max(map(len, self._suffix), default=0)
        self._substrings = _Substrings(parts, [*_sample(self._exact), *_sample(self._suffix)])

    def find(self, name: str) -> str | None:
        """Return the pattern that hits a name: exact before suffix before substring before regex.

        Of suffixes the longest is returned, of substrings and of regexes the one that was written first.
        """
        name = name.lower()
        bare = name[:-1] if name[-1:] == "." else name
        pattern = self._whole(bare)
        if pattern is not None:
            return pattern
        part = self._substrings.find(name)
        if part is not None:
            return f"*{part}*"
        for regex in self._regexes:
            if regex.search(bare) or (bare is not name and regex.search(name)):
                return f"/{regex.pattern}/"
        return None

    def _whole(self, name: str) -> str | None:
        if name in self._exact:
            return "=" + name
        if not self._suffix:
            return None
        longest = self._longest_suffix  # bounds the work for a name of 64 kB that is nothing but dots
        rest = name if len(name) <= longest else name[-longest - 1 :].partition(".")[2]
        while rest:
            if rest in self._suffix:
                return "." + rest
            rest = rest.partition(".")[2]
        return None

    def patterns(self) -> Iterator[str]:
        """Yield all patterns as they are compared, each once."""
        yield from ("=" + name for name in self._exact)
        yield from ("." + name for name in self._suffix)
        yield from (f"*{part}*" for part in self._substrings)
        yield from (f"/{regex.pattern}/" for regex in self._regexes)

    def __len__(self) -> int:
        return len(self._exact) + len(self._suffix) + len(self._substrings) + len(self._regexes)


class _Substrings:
    """Finds the first of many parts that a name contains."""

    def __init__(self, parts: Mapping[str, int], sample: Iterable[str]) -> None:
        self._order = parts
        self._short = tuple(
            (size, frozenset(tuple(part) for part in parts if len(part) == size))
            for size in sorted({len(part) for part in parts if len(part) < _WINDOW})
        )
        seen: Counter[int] = Counter()
        for text in (*parts, *sample):
            seen.update(_words_of(text))
        self._filed: dict[int, list[str]] = {}
        for part in parts:
            if len(part) >= _WINDOW:
                self._filed.setdefault(min(own_words(part.encode()), key=seen.__getitem__), []).append(part)
        self._words = frozenset(self._filed)

    def find(self, name: str) -> str | None:
        """Return the part that was written first among those in the name."""
        found: list[str] = []
        for size, short in self._short:
            found += map("".join, short.intersection(zip(*(name[start:] for start in range(size)), strict=False)))
        if self._words:
            for word in self._words.intersection(_words_of(name)):
                for part in self._filed[word]:
                    if part in name:
                        found.append(part)
        if len(found) < 2:
            return found[0] if found else None
        return min(found, key=self._order.__getitem__)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def _words_of(text: str) -> tuple[int, ...]:
    return words(text.encode("utf-8", "surrogatepass"))


def words(raw: bytes) -> tuple[int, ...]:
    """Return every window of four bytes as a 32-bit number, and a few that straddle the ends and mean nothing.

    Cutting the windows out one by one takes three times as long. Here the bytes, padded to a multiple of four, are laid
    out four times so that each copy starts one byte later against the four-byte grid, and are read in one call.
    """
    raw += _PADDING[len(raw) & 3]
    length = len(raw)
    read = _READERS[length >> 2] if length <= _USUAL_BYTES else _reader(length)
    return read(raw + raw[1:] * 3)


def own_words(raw: bytes) -> list[int]:
    """Return the windows alone, without those that straddle the ends."""
    return [int.from_bytes(raw[start : start + _WINDOW], "little") for start in range(len(raw) - _WINDOW + 1)]


def _reader(length: int) -> Callable[[bytes], tuple[int, ...]]:
    return struct.Struct(f"<{length - 1}Ix" if length else "").unpack


_READERS = tuple(_reader(length) for length in range(0, _USUAL_BYTES + 1, 4))


def _sample(names: set[str]) -> list[str]:
    """Return at most so many of the names; the same ones for the same set, though sets have no order of their own."""
    return sorted(names)[:: len(names) // _SAMPLED_NAMES + 1]


def check_pattern(pattern: str) -> str:
    """Return a pattern as it is compared; `ValueError` with a mend if it has none of the four forms."""
    text = pattern.strip()
    if len(text) > 2 and text[0] == text[-1] == "/":
        try:
            re.compile(text[1:-1])
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None
        return text
    text = text.lower()
    if len(text) > 1 and text[0] in "=." and "*" not in text:
        return text[0] + _whole_name(text[1:], pattern)
    if len(text) > 2 and text[0] == text[-1] == "*" and "*" not in text[1:-1]:
        if not text.isascii():
            raise ValueError(f"{pattern!r} is a part of an international name; write its `xn--` form, or a whole name")
        return text
    raise ValueError(f"{pattern!r} is not a name pattern; write `=exact`, `.suffix`, `*part*` or `/regex/`")


def _whole_name(name: str, pattern: str) -> str:
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{pattern!r} has no `xn--` form ({error}); write a name that can be registered") from None
    if len(name) > 1 and name[-1] == ".":
        name = name[:-1]
    return name


def read_list(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return the patterns of a list file with their line numbers; nothing is checked here."""
    found: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            found.append((number, text))
    return found
