"""Schemas and reference pages: current, right about all that ships, strict about what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from testbed import shipped
from testbed.apps import profiles
from testbed.documents import read_document
from testbed.reference import page_of
from testbed.reference_presets import presets_page
from testbed.schema import KINDS, schema_of, text_of

ROOT = Path(__file__).parent.parent
FOLDERS = {"scenario": "scenarios", "policy": "policies", "link": "scenarios/links", "recipe": "recipes",
           "matrix": "matrices"}  # fmt: skip
SHIPPED = [
    *((kind, path) for kind, folder in FOLDERS.items() for path in sorted(shipped.folder(folder).glob("*.yaml"))),
    *(("profile", path) for path in sorted(Path(profiles.__file__).with_suffix("").glob("*.yaml"))),
]
BASE = {"scenario": "s", "title": "t"}


def errors(kind: str, data: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema_of(kind))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(data)]


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_page_are_current(kind: str) -> None:
    mend = "run scripts/schemas and commit what it writes"
    assert (ROOT / "schemas" / f"{kind}.json").read_text(encoding="utf-8") == text_of(kind), mend
    assert (ROOT / "docs" / f"reference-{kind}.md").read_text(encoding="utf-8") == page_of(kind), mend


def test_page_of_presets_is_current() -> None:
    mend = "run scripts/schemas and commit what it writes"
    assert (ROOT / "docs" / "reference-presets.md").read_text(encoding="utf-8") == presets_page(), mend


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_one(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(text_of(kind)))


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_all_that_ships_fits_its_schema(kind: str, path: Path) -> None:
    assert errors(kind, read_document(path).data) == []


def test_every_kind_of_file_was_looked_at() -> None:
    assert {kind for kind, _ in SHIPPED} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("scenario", {**BASE, "polcy": "open"}),
        ("scenario", {"title": "t"}),
        ("scenario", {"scenario": "s"}),
        ("scenario", {**BASE, "duration": 30}),
        ("scenario", {**BASE, "link": {"raet": "1 Mbit/s"}}),
        ("scenario", {**BASE, "apps": [{"name": "a", "app": "web"}]}),
        ("scenario", {**BASE, "apps": [{"name": "a", "app": "web", "params": {"ulr": "https://a.example"}}]}),
        ("scenario", {**BASE, "apps": [{"name": "a", "app": "wbe", "params": {}}]}),
        ("scenario", {**BASE, "expect": [{"phase": "start", "app": "a", "verdict": "blokced"}]}),
        ("scenario", {**BASE, "expect": [{"phase": "start", "app": "a", "kpi": {"load_s": "fast"}}]}),
        ("scenario", {**BASE, "timeline": [{"phase": "no time"}]}),
        ("policy", {"policy": "p", "title": "t", "names": {}}),
        ("policy", {"policy": "p", "title": "t", "rules": [{"name": "r"}]}),
        ("link", {"link": "l", "rate": 500}),
        ("link", {"link": "l", "by_clock": [{"from": "25:00", "to": "26:00"}]}),
    ],
)
def test_what_is_wrong_does_not_fit(kind: str, data: dict[str, Any]) -> None:
    assert errors(kind, data)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("scenario", {"scenario": "s", "extends": "social-media"}),
        ("scenario", {**BASE, "link": {"rate": "1 Mbit/s", "rtt": "20 ms", "queue": "64 kB", "up": {"loss": 0.01}}}),
        ("scenario", {**BASE, "timeline": [{"at": "1 s", "link": {"rate": "64 kbit/s", "queue": {"time": "1 s"}}}]}),
        ("scenario", {**BASE, "apps": [{"name": "a", "app": "command", "params": {"argv": ["sleep", 5]}}]}),
        ("scenario", {**BASE, "expect": [{"phase": "start", "app": "a", "verdict": ["ok", "slow"]}]}),
    ],
)
def test_what_is_right_fits(kind: str, data: dict[str, Any]) -> None:
    assert errors(kind, data) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_page_has_a_type_and_a_meaning(kind: str) -> None:
    rows = [line for line in page_of(kind).splitlines() if line.startswith("| `")]
    assert rows
    for row in rows:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert cells[1], f"{row}: no type"
        assert cells[-1], f"{row}: write a text under the field, or a line in testbed/meanings.py"
