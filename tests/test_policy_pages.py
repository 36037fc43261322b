"""The pages of policies say what the policies are, and leave none out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from testbed import shipped
from testbed.dpi.policy import load_policy
from testbed.policy_pages import command_for, named_in, pages, refreshed
from testbed.scenario.topology import GROUPS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("page", list(pages(DOCS)), ids=lambda page: page.stem)
def test_a_page_is_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert refreshed(text) == text, "run scripts/schemas and commit what it writes"


def test_each_policy_is_told_of_once() -> None:
    told = Counter(name for page in pages(DOCS) for name in named_in(page.read_text(encoding="utf-8")))
    assert told == Counter(shipped.names("policies"))


@pytest.mark.parametrize("name", shipped.names("policies"))
def test_each_rule_stands_on_the_page_with_its_evidence(name: str) -> None:
    (page,) = (page for page in pages(DOCS) if name in named_in(page.read_text(encoding="utf-8")))
    text = page.read_text(encoding="utf-8")
    for rule in load_policy(name, GROUPS).rules:
        assert f"| `{rule.name}` |" in text
        assert rule.evidence.source in text


@pytest.mark.parametrize(("name", "asked"), [
    ("russia", "t.co"), ("kazakhstan-2019", "allo.google.com"), ("geneva-4", "ultrasurf"),
])  # fmt: skip
def test_the_command_asks_for_something_the_policy_knows(name: str, asked: str) -> None:
    assert f"--policy {name} " in command_for(load_policy(name))
    assert asked in command_for(load_policy(name))
