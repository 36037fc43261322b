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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.errors import InputError, Problem

Location = tuple[str | int, ...]
_MOST_BYTES, _MOST_PARTS, _DEEPEST = 16 << 20, 200_000, 100


class Strict(BaseModel):
    """The base of every specification: unknown keys are errors, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML mapping with the line of each of its parts: `lines[("rules", 2, "match")] -> 17`.

    `origins` names the file of each part that came from another one by `extends`: a key at the top, an item under it.
    """

    path: str
    data: dict[str, Any]
    lines: Mapping[Location, int]
    origins: Mapping[Location, str] = field(default_factory=dict)

    def place(self, location: Sequence[str | int] = ()) -> str:
        """Return `file:line` of the nearest part that stands in the file."""
        where = tuple(location)
        while where and where not in self.lines:
            where = where[:-1]
        ways = (where[:end] for end in range(len(where), 0, -1))
        path = next((self.origins[way] for way in ways if way in self.origins), self.path)
        return f"{path}:{self.lines.get(where, 1)}"

    def over(self, base: Document) -> Document:
        """Return this document laid over another: a key given here replaces the whole of that key there."""
        inherited = {key for key in base.data if key not in self.data}
        lines = {where: line for where, line in base.lines.items() if where and where[0] in inherited}
        origins: dict[Location, str] = {(key,): base.path for key in inherited}
        origins.update({where: path for where, path in base.origins.items() if where[0] in inherited})
        return Document(self.path, {**base.data, **self.data}, {**lines, **self.lines}, {**origins, **self.origins})

    def line(self, location: Sequence[str | int] = ()) -> int:
        """Return the line of the nearest part that stands in the file."""
        return int(self.place(location).rpartition(":")[2])

    def within(self, location: Sequence[str | int]) -> Location:
        """Return the parts of a location that stand in the file: a model's own words, a union's tags, left out."""
        found: Location = ()
        for part in location:
            if (*found, part) in self.lines:
                found = (*found, part)
        return found

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

#: The same by libyaml, ten times as fast, where PyYAML was built with it. Its errors are told in other words, so a text
#: that it refuses is read again by the one above.
_FastLoader: type[yaml.SafeLoader] = type(
    "_FastLoader",
    (getattr(yaml, "CSafeLoader", yaml.SafeLoader),),
    {"yaml_implicit_resolvers": _Loader.yaml_implicit_resolvers},
)


def _collect_lines(node: yaml.Node, location: Location, lines: dict[Location, int], path: str) -> None:
    if len(lines) > _MOST_PARTS or len(location) > _DEEPEST:
        what = "too many parts, or anchors that hold each other"
        raise InputError([Problem(f"{path}:{node.start_mark.line + 1}", what, "write it out, or split the file")])
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
        try:
            data, lines = _read(_FastLoader(text), path)
        except (yaml.YAMLError, ValueError, RecursionError):
            data, lines = _read(_Loader(text), path)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError([Problem(f"{path}:{line}", f"not YAML: {error.problem}", _syntax_mend(error))]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"not YAML: the character #x{_code(error.character):04x} is not allowed"
        raise InputError([Problem(f"{path}:{line}", what, "write plain text in UTF-8")]) from None
    except RecursionError:
        raise InputError([Problem(f"{path}:1", "nested too deeply", "write it flatter")]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError([Problem(f"{path}:1", f"not YAML: {error}", "mend the value")]) from None
    if not isinstance(data, dict):
        what = "the file is empty" if data is None else "not a mapping of keys to values"
        raise InputError([Problem(f"{path}:1", what, "start with `key: value` lines")])
    return Document(path, data, lines)


def _read(loader: yaml.SafeLoader, path: str) -> tuple[Any, dict[Location, int]]:
    """Return what a text says and the line of each of its parts."""
    lines: dict[Location, int] = {}
    node = loader.get_single_node()
    if node is None:
        return None, lines
    _collect_lines(node, (), lines, path)  # before aliases are merged away: a doubled key is seen here only
    return loader.construct_document(node), lines


def _code(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[0])


def _syntax_mend(error: yaml.MarkedYAMLError) -> str:
    if "'\\t'" in str(error.problem):
        return "indent with spaces, not tabs"
    return "keep one document a file" if "another document" in str(error.problem) else "mend the syntax"


def read_document(path: str | Path) -> Document:
    """Read a YAML file; `InputError` if it is missing, unreadable, or not a YAML mapping."""
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError([Problem(f"{path}:1", "no such file", "check the name")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError([Problem(f"{path}:1", f"can't be read: {reason}", "give a readable YAML file")]) from None
    if len(content) > _MOST_BYTES:
        raise InputError([Problem(f"{path}:1", "larger than 16 MiB", "give a YAML file")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8: the byte 0x{content[error.start]:02x}"
        raise InputError([Problem(f"{path}:{line}", what, "save the file as UTF-8 text")]) from None
    return parse_text(text.replace("\r\n", "\n"), str(path))


def validate(document: Document, model: type[ModelT]) -> ModelT:
    """Check a document against a model; `InputError` lists every problem with its line."""
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise InputError(validation_problems(document, model, error)) from None


def validation_problems(document: Document, model: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Turn pydantic's error list into problems in the order of lines, the nearest known key named."""
    found: dict[Problem, int] = {}
    for item in error.errors():
        location = tuple(part for part in item["loc"] if isinstance(part, (str, int)))
        problem = _problem(document, model, location, item["type"], item["msg"], item.get("ctx", {}))
        found.setdefault(problem, document.line(location))
    return sorted(found, key=lambda problem: found[problem])


#: pydantic's kind of error → what is wrong, and the mend; `{…}` are of the error's context
_TEXTS: Mapping[str, tuple[str, str]] = {
    "string_type": ("not text", "write a word, or put it in quotes"),
    "int_type": ("not a whole number", "write digits"),
    "int_parsing": ("not a whole number", "write digits"),
    "int_from_float": ("not a whole number", "write digits"),
    "int_parsing_size": ("too long a number", "write a smaller one"),
    "float_type": ("not a number", "write digits"),
    "float_parsing": ("not a number", "write digits"),
    "bool_type": ("neither true nor false", "write `true` or `false`"),
    "bool_parsing": ("neither true nor false", "write `true` or `false`"),
    "tuple_type": ("not a list", "write `[…]`, or lines that begin with `- `"),
    "list_type": ("not a list", "write `[…]`, or lines that begin with `- `"),
    "dict_type": ("not a mapping", "write `key: value` lines"),
    "mapping_type": ("not a mapping", "write `key: value` lines"),
    "model_type": ("not a mapping", "write `key: value` lines"),
    "model_attributes_type": ("not a mapping", "write `key: value` lines"),
    "invalid_key": ("a key that is not text", "put it in quotes"),
    "greater_than": ("too small", "choose more than {gt:g}"),
    "greater_than_equal": ("too small", "choose {ge:g} or more"),
    "less_than": ("too large", "choose less than {lt:g}"),
    "less_than_equal": ("too large", "choose {le:g} or less"),
    "finite_number": ("not a finite number", "write digits"),
    "string_too_short": ("empty text", "write some, or leave it out"),
    "too_short": ("has {actual_length} items", "give {min_length} or more"),
    "too_long": ("has too many items", "give {max_length} or fewer"),
}


def _problem(
    document: Document, model: type[BaseModel], location: Location, kind: str, message: str, context: Mapping[str, Any]
) -> Problem:
    key = next((part for part in reversed(location) if isinstance(part, str)), "")
    if kind == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(key, known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(sorted(known))}" if known else ""
        return document.problem(location, f"unknown key `{key}`", mend)
    if kind == "missing":
        return document.problem(location[:-1], f"the key `{key}` is missing", f"add `{key}: …`")
    inside = document.within(location)
    key = str(next((part for part in reversed(inside) if isinstance(part, str)), ""))
    if kind == "literal_error":
        given = _value_at(document.data, inside)
        what = f"`{given}`" if isinstance(given, (str, int, float, bool)) else "this"
        return document.problem(inside, f"`{key}`: {what} is not a word it knows", f"write {context.get('expected')}")
    if kind in _TEXTS:
        what, mend = _TEXTS[kind]
        what = what.format(**context)
        return document.problem(inside, f"`{key}`: {what}" if key else what, mend.format(**context))
    text = message.removeprefix("Value error, ")
    what, _, mend = text.partition("; ")
    return document.problem(inside, f"`{key}`: {what}" if key else what, mend)


def _value_at(data: Any, location: Location) -> Any:
    for part in location:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


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
        if not field.exclude
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
