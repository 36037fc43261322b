"""Plays a strategy's HTTP trees on a request's head: names, values and order of what the client says. Pure.

The application layer of Geneva (Harrity et al., GET /out, USENIX Security 2022): servers read more than RFC 9112
allows, censors less, and what only the server reads evades. A header counts under its name; `method`, `path` and
`version` are the parts of the first line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from testbed.tools.geneva.strategy import ChangeCase, Duplicate, Insert, Node, Replace, Strategy

_FIRST_LINE = ("method", "path", "version")


@dataclass(frozen=True, slots=True)
class Line:
    """A header, or a part of the first line, whose name is then empty."""

    name: bytes
    value: bytes

    def __bytes__(self) -> bytes:
        return self.name + b": " + self.value if self.name else self.value


def rewrite(strategy: Strategy, head: bytes) -> bytes:
    """Return a head, blank line and all, as a strategy makes it; one that isn't HTTP's is left as it is."""
    first, *rest = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    words = first.split(b" ")
    if len(words) != len(_FIRST_LINE):
        return head
    parts = {name: [Line(b"", word)] for name, word in zip(_FIRST_LINE, words, strict=True)}
    headers = [[Line(name, value.strip())] for name, _, value in (line.partition(b":") for line in rest)]
    for tree in strategy.outbound:
        field = tree.trigger.field
        if field in parts:
            parts[field] = [out for line in parts[field] for out in _run(tree.root, line)]
        else:
            headers = [_header(tree.root, lines, field) for lines in headers]
    line = b" ".join(bytes(part) for name in _FIRST_LINE for part in parts[name])
    return b"\r\n".join([line, *(bytes(header) for lines in headers for header in lines), b"", b""])


def _header(root: Node | None, lines: list[Line], field: str) -> list[Line]:
    if lines[0].name.strip().lower() != field.lower().encode():
        return lines
    return [out for line in lines for out in _run(root, line)]


def _run(node: Node | None, line: Line) -> Iterator[Line]:
    if node is None:
        yield line
        return
    both = isinstance(node.action, Duplicate)
    yield from _run(node.left, line if both else _changed(node.action, line))
    if both:
        yield from _run(node.right, line)


def _changed(action: object, line: Line) -> Line:
    if isinstance(action, ChangeCase):
        change = bytes.upper if action.to == "upper" else bytes.lower
        return Line(change(line.name), change(line.value))
    if not isinstance(action, (Insert, Replace)):
        return line
    part = "value" if action.part == "value" or not line.name else "name"
    text, extra = getattr(line, part), unquote_to_bytes(action.value) * action.times
    if isinstance(action, Replace):
        return replace(line, **{part: extra})
    at = {"start": 0, "middle": len(text) // 2, "end": len(text)}[action.where]
    return replace(line, **{part: text[:at] + extra + text[at:]})
