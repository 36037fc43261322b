"""YAML documents that remember where each value stands, so that every error can say `file:line`.

`read_document` composes the YAML once, keeps the line of every key and item, and turns pydantic's error list into one
`InputError` that names all problems at once, with the nearest known key where one was mistyped. Values are never
changed here; what a document means is the business of the model that validates it.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.errors import InputError, Problem

Location = tuple[str | int, ...]


class Strict(BaseModel):
    """The base of every specification: unknown keys are errors, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML mapping with the line of each of its parts: `lines[("rules", 2, "match")] -> 17`."""

    path: str
    data: dict[str, Any]
    lines: Mapping[Location, int]

    def place(self, location: Sequence[str | int] = ()) -> str:
        """Return `file:line` of the nearest part that stands in the file."""
        where = tuple(location)
        while where and where not in self.lines:
            where = where[:-1]
        return f"{self.path}:{self.lines.get(where, 1)}"

    def problem(self, location: Sequence[str | int], what: str, mend: str = "") -> Problem:
        """Return a problem placed at that part."""
        return Problem(self.place(location), what, mend)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its surprises: `off`, `no` and `12:30` stay text; only true and false are booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0x[0-9a-fA-F]+|0|[1-9][0-9]*)$"), list("-+0123456789")
)


def _collect_lines(node: yaml.Node, location: Location, lines: dict[Location, int], path: str) -> None:
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key)
            if name in seen:
                place = f"{path}:{key.start_mark.line + 1}"
                raise InputError([Problem(place, f"the key `{name}` stands twice", "keep one of them")])
            seen.add(name)
            lines[(*location, name)] = key.start_mark.line + 1
            _collect_lines(value, (*location, name), lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*location, index), lines, path)


def parse_text(text: str, path: str) -> Document:
    """Read YAML text whose top is a mapping; `InputError` names the line of a syntax error or a doubled key."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError([Problem(f"{path}:{line}", f"not YAML: {error.problem}", "mend the syntax")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError([Problem(f"{path}:1", f"not YAML: {error}", "write plain text in UTF-8")]) from None
    if not isinstance(data, dict) or node is None:
        raise InputError([Problem(f"{path}:1", "not a mapping of keys to values", "start with `key: value` lines")])
    lines: dict[Location, int] = {}
    _collect_lines(node, (), lines, path)
    return Document(path, data, lines)


def read_document(path: str | Path) -> Document:
    """Read a YAML file; `InputError` if it is missing, unreadable, or not a YAML mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError([Problem(f"{path}:1", "no such file", "check the name")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(f"{path}:1", f"can't be read: {error}", "give a readable YAML file")]) from None
    return parse_text(text, str(path))


def validate(document: Document, model: type[ModelT]) -> ModelT:
    """Check a document against a model; `InputError` lists every problem with its line."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise InputError(validation_problems(document, model, error)) from None


def validation_problems(document: Document, model: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Turn pydantic's error list into problems with places, the nearest known key named."""
    found: dict[Problem, None] = {}
    for item in error.errors():
        location = tuple(part for part in item["loc"] if isinstance(part, (str, int)))
        found.setdefault(_problem(document, model, location, item["type"], item["msg"], item.get("ctx", {})))
    return list(found)


def _problem(
    document: Document, model: type[BaseModel], location: Location, kind: str, message: str, context: Mapping[str, Any]
) -> Problem:
    key = str(location[-1]) if location else ""
    if kind == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(key, known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(sorted(known))}" if known else ""
        return document.problem(location, f"unknown key `{key}`", mend)
    if kind == "missing":
        return document.problem(location[:-1], f"the key `{key}` is missing", f"add `{key}: …`")
    if kind == "literal_error":
        return document.problem(location, f"`{key}` is not one of the known words", f"write {context.get('expected')}")
    text = message.removeprefix("Value error, ")
    what, _, mend = text.partition("; ")
    return document.problem(location, f"`{key}`: {what}" if key else what, mend)


def _known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """Return the keys that a model knows at a location, following nested models, lists, mappings and unions."""
    candidates: list[Any] = [model]
    for part in location:
        inner: list[Any] = []
        for candidate in candidates:
            inner.extend(_step(candidate, part))
        candidates = inner or candidates  # a union's tag is part of pydantic's location but not of the file
    keys = {
        field.alias or name
        for candidate in candidates
        if isinstance(candidate, type) and issubclass(candidate, BaseModel)
        for name, field in candidate.model_fields.items()
    }
    return sorted(keys)


def _step(annotation: Any, part: str | int) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.__name__ == part:
            return [annotation]
        for name, field in annotation.model_fields.items():
            if part in (name, field.alias):
                return _unwrap(field.annotation)
    return []


def _unwrap(annotation: Any) -> list[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _unwrap(arguments[0])
    if origin in (typing.Union, types.UnionType, list, tuple):
        return [inner for argument in arguments for inner in _unwrap(argument)]
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return _unwrap(arguments[1])
    return [annotation]
