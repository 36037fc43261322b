"""What is left of a document when its faulty parts are taken out, so that the rest can still be checked.

A mistyped key at the top must not hide an unknown policy below it: whoever mends a file wants to hear everything at
once. Pure; nothing that was salvaged is ever run.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from testbed.documents import Document, Location, ModelT

_ROUNDS = 8
_PLACEHOLDER = "?"


def salvage(document: Document, model: type[ModelT]) -> tuple[ModelT, Document, frozenset[str]] | None:
    """Return the model of what is right, the document of that, and every word that was left out; None if nothing is.

    The left-out words are for the caller: a name that was declared in a faulty part is not an unknown name.
    """
    left_out: set[str] = set()
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(document.data), document, frozenset(left_out)
        except ValidationError as error:
            faults = {_fault(document, error_item["type"], error_item["loc"]) for error_item in error.errors()}
            for key in sorted(str(fault[0]) for fault in faults if len(fault) == 1 and fault not in document.lines):
                document = Document(
                    document.path, {**document.data, key: _PLACEHOLDER}, document.lines, document.origins
                )
            document = _without(document, {fault for fault in faults if fault in document.lines}, left_out)
    return None


def _fault(document: Document, kind: str, location: tuple[Any, ...]) -> Location:
    """Return the part to take out: a key with a default goes alone, an item that lacks a key goes whole."""
    if kind == "missing":
        return document.within(location[:-1]) or (str(location[-1]),)
    return document.within(location) or (str(location[0]) if location else "",)


def _without(document: Document, faults: set[Location], left_out: set[str]) -> Document:
    lines: dict[Location, int] = {(): document.lines.get((), 1)}

    def copy(value: Any, was: Location, now: Location) -> Any:
        if isinstance(value, dict):
            return {k: keep(v, (*was, k), (*now, k)) for k, v in value.items() if stays((*was, k), v)}
        if isinstance(value, list):
            rest = [(index, item) for index, item in enumerate(value) if stays((*was, index), item)]
            return [keep(item, (*was, index), (*now, new)) for new, (index, item) in enumerate(rest)]
        return value

    def stays(location: Location, value: Any) -> bool:
        if location in faults:
            left_out.update(_words(value))
        return location not in faults

    def keep(value: Any, was: Location, now: Location) -> Any:
        if was in document.lines:
            lines[now] = document.lines[was]
        return copy(value, was, now)

    return Document(document.path, copy(document.data, (), ()), lines, document.origins)


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {word for key, item in value.items() for word in (str(key), *_words(item))}
    if isinstance(value, list):
        return {word for item in value for word in _words(item)}
    return {str(value)}
