"""JSON schemas of the files people write, generated from the models that read them, for editors and other programs.

`scripts/schemas` writes them to `schemas/`. Text forms that only a validator knows (`0.5 Mbit/s`, `443` or `3478-3479`)
are allowed as text; their exact form is the business of `testbed check`.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from testbed.apps.profiles import Profile
from testbed.campaign.spec import Matrix
from testbed.dpi.policy import Policy
from testbed.link.spec import LinkSpec
from testbed.meanings import MEANINGS
from testbed.scenario.params import PARAMS
from testbed.scenario.spec import Scenario
from testbed.tools.recipe import Recipe

#: Kind of file → its model; the kind is also the file's first key
KINDS: Mapping[str, type[BaseModel]] = {
    "scenario": Scenario, "policy": Policy, "link": LinkSpec, "recipe": Recipe, "profile": Profile, "matrix": Matrix,
}  # fmt: skip
#: The example by which a page knows a time of day
TIME = "19:00"
RTT = "Time there and back on the empty link; half of it is each direction's `delay`."
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: JsonSchemaValue = {"type": ["string", "number"]}


class _Generator(GenerateJsonSchema):
    """Lets through what a validator reads before the type is checked: people write it as text or as a number.

    A model's own validator reads the model's keys; one called `_from_text` reads text as well.
    """

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        if schema["schema"]["type"].startswith("model") or not inner:
            return inner
        if getattr(schema["function"]["function"], "__name__", "") == "_time_of_day":
            return {"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$", "examples": [TIME]}
        return {"anyOf": [dict(_TEXT), inner]}


def schema_of(kind: str) -> dict[str, Any]:
    """Return the JSON schema of one kind of file."""
    schema = _plain(KINDS[kind])
    if kind == "scenario":
        _add_links(schema)
        _add_params(schema)
    _relax_extends(schema, KINDS[kind])
    return {"$schema": _DIALECT, "title": f"testbed {kind}", **{k: v for k, v in schema.items() if k != "title"}}


def text_of(kind: str) -> str:
    """Return the schema as it stands in its file."""
    return json.dumps(schema_of(kind), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _plain(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's own schema, each key with its meaning."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    if "$ref" in schema:
        schema = {**schema["$defs"].pop(model.__name__), "$defs": schema["$defs"]}
    for definition, owner in [(schema, model), *((d, _model_named(n)) for n, d in schema.get("$defs", {}).items())]:
        if owner is not None and "properties" in definition:
            _describe(definition["properties"], owner)
    for name, definition in schema.get("$defs", {}).items():
        if hasattr(_model_named(name), "_from_text"):
            schema["$defs"][name] = {"anyOf": [dict(_TEXT), definition], "description": definition["description"]}
    if model is LinkSpec:
        _spread_directions(schema)
    return schema


def _describe(properties: dict[str, Any], owner: type[BaseModel]) -> None:
    """Give each key its meaning; what only a loader fills in is no key."""
    meanings = docs_of(owner)
    for name, field in owner.model_fields.items():
        key = field.alias or name
        meaning = meanings.get(name) or MEANINGS.get(f"{owner.__name__}.{key}")
        if field.exclude:
            properties.pop(key, None)
        elif meaning and key in properties:
            properties[key]["description"] = meaning


def _spread_directions(schema: dict[str, Any]) -> None:
    """What is said for both directions stands at the top of a link."""
    direction = schema["$defs"]["DirectionSpec"]
    schema["properties"] = {**schema["properties"], **direction["properties"]}
    schema["properties"]["rtt"] = {**direction["properties"]["delay"], "description": RTT}


def _add_links(schema: dict[str, Any]) -> None:
    """A link is a name or written out."""
    link = _plain(LinkSpec)
    schema["$defs"] = {**link.pop("$defs"), "LinkSpec": link, **schema["$defs"]}
    for owner in (schema, schema["$defs"]["Step"]):
        kept = {k: v for k, v in owner["properties"]["link"].items() if k in ("description", "default")}
        owner["properties"]["link"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/LinkSpec"}], **kept}


def _add_params(schema: dict[str, Any]) -> None:
    """What an app is told depends on what it is."""
    rules = []
    for kind, model in PARAMS.items():
        params = _plain(model)
        schema["$defs"] |= params.pop("$defs", {})
        schema["$defs"][model.__name__] = params
        then: dict[str, Any] = {"properties": {"params": {"$ref": f"#/$defs/{model.__name__}"}}}
        if params.get("required"):
            then["required"] = ["params"]
        rules.append({"if": {"properties": {"app": {"const": kind}}}, "then": then})
    schema["$defs"]["AppSpec"]["allOf"] = rules


def _relax_extends(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """What extends another file may leave out what is there."""
    if "extends" in model.model_fields:
        needed = schema["required"]
        schema["required"] = needed[:1]
        schema["if"] = {"not": {"required": ["extends"]}}
        schema["then"] = {"required": needed}


def _model_named(name: str) -> type[BaseModel] | None:
    found: list[type[BaseModel]] = [*BaseModel.__subclasses__()]
    while found:
        model = found.pop()
        if model.__name__ == name and model.__module__.startswith("testbed."):
            return model
        found += model.__subclasses__()
    return None


@cache
def docs_of(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the text that stands under each field of a model, on one line."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                found[field.target.id] = " ".join(text.split())
    return found
