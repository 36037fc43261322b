"""Name lists as censors keep them: exact names, suffixes, and unanchored substrings that over-block.

A pattern is written `=exact.name`, `.suffix.name` (the name itself and everything under it), `*part*` (anywhere, so
`*twitter.com*` also hits `xtwitter.com`; facts §1, rule form) or `/regex/` (Python's, anywhere; slow, asked last). A
list file has one pattern a line; `#` starts a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_GRAM = 4


class NameIndex:
    """Finds the pattern that hits a name in time that hardly grows with the number of patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._suffix: set[str] = set()
        self._short: list[str] = []
        self._parts: dict[str, list[str]] = {}
        self._regexes: list[re.Pattern[str]] = []
        for pattern in patterns:
            self._add(check_pattern(pattern))

    def _add(self, pattern: str) -> None:
        if pattern[0] == "/":
            self._regexes.append(re.compile(pattern[1:-1]))
        elif pattern[0] == "=":
            self._exact.add(pattern[1:])
        elif pattern[0] == ".":
            self._suffix.add(pattern[1:])
        elif len(part := pattern[1:-1]) < _GRAM:
            self._short.append(part)
        else:
            self._parts.setdefault(part[:_GRAM], []).append(part)

    def find(self, name: str) -> str | None:
        """Return the first pattern that hits a lower-case name: exact before suffix before substring."""
        if name in self._exact:
            return "=" + name
        if self._suffix:
            rest = name
            while rest:
                if rest in self._suffix:
                    return "." + rest
                rest = rest.partition(".")[2]
        for part in self._short:
            if part in name:
                return f"*{part}*"
        if self._parts:
            for start in range(len(name) - _GRAM + 1):
                for part in self._parts.get(name[start : start + _GRAM], ()):
                    if name.startswith(part, start):
                        return f"*{part}*"
        for regex in self._regexes:
            if regex.search(name):
                return f"/{regex.pattern}/"
        return None

    def __len__(self) -> int:
        parts = len(self._short) + sum(map(len, self._parts.values()))
        return len(self._exact) + len(self._suffix) + parts + len(self._regexes)


def check_pattern(pattern: str) -> str:
    """Return a pattern, in lower case unless a regex; `ValueError` if it has none of the four forms."""
    text = pattern.strip()
    if len(text) > 2 and text[0] == text[-1] == "/":
        try:
            re.compile(text[1:-1])
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None
        return text
    text = text.lower()
    if len(text) > 1 and text[0] in "=." and "*" not in text:
        return text
    if len(text) > 2 and text[0] == text[-1] == "*" and "*" not in text[1:-1]:
        return text
    raise ValueError(f"{pattern!r} is not a name pattern; write `=exact`, `.suffix`, `*part*` or `/regex/`")


def read_list(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return the patterns of a list file with their line numbers; nothing is checked here."""
    found: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            found.append((number, text))
    return found
