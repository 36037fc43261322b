"""The table of tools and policies: as its results say, whole, and made anew only by results."""

from __future__ import annotations

import json
from pathlib import Path

from testbed import shipped
from testbed.report.toolpage import page, reduce

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_its_results_say() -> None:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    assert (DOCS / "tools.md").read_text(encoding="utf-8") == page(kept), "run scripts/tools-page"


def test_every_recipe_stands_in_it_with_a_verdict_or_the_reason_why_not() -> None:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    assert set(kept) == set(shipped.names("recipes")), "run scripts/tools-page"
    for name, entry in kept.items():
        if entry["policies"]:
            assert entry["policies"]["open"]["verdict"] == "passes", name
        else:
            assert "not installed" in entry["skipped"] or "lacks" in entry["skipped"], name


def test_its_policies_exist() -> None:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    assert {policy for entry in kept.values() for policy in entry["policies"]} <= set(shipped.names("policies"))


def test_results_are_laid_over_older_ones() -> None:
    blocked = {"policy": "p", "verdict": "blocked", "blocked_by": [{"rule": "b"}, {"rule": "a"}, {"rule": "a"}]}
    tool = {"recipe": "r", "title": "R", "policies": [{"policy": "open", "verdict": "passes"}, blocked]}
    first = reduce([tool])
    assert first == {
        "r": {"title": "R", "policies": {"open": {"verdict": "passes"}, "p": {"verdict": "blocked", "by": ["a", "b"]}}}
    }
    later = reduce([{**tool, "policies": [{"policy": "p", "verdict": "passes", "blocked_by": [{"rule": "a"}]}]}], first)
    assert later["r"]["policies"] == {"open": {"verdict": "passes"}, "p": {"verdict": "passes"}}
    assert reduce([{"recipe": "r", "title": "R", "skipped": "gone", "policies": []}], later) == later
    text = page(later | reduce([{"recipe": "s", "title": "S", "skipped": "not installed", "policies": []}]))
    assert "| [r](../recipes/r.yaml) R | ✓ | ✓ |" in text
    assert "- [s](../recipes/s.yaml) S: not installed" in text
