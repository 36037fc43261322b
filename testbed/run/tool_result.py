"""What the test of a tool writes down: every key that its result can have, and the word for how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.errors import TestbedError
from testbed.run.resolve import DEFAULT_LINK
from testbed.tools import judge
from testbed.tools.recipe import Recipe


def nothing_under(policy: str) -> dict[str, Any]:
    """Return a policy's result before anything was tried: every key that one can have."""
    return {
        "policy": policy, "verdict": "invalid", "outcome": None, "why": [], "controls": None, "started": None,
        "died": [], "said": {}, "success": judge.success([]), "load": None, "via": None, "target": None,
        "blocked_by": [], "soak": None,
    }  # fmt: skip


def nothing_of(recipe: Recipe, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's result before anything was tried: every key that one can have."""
    return {
        "recipe": recipe.recipe, "title": recipe.title, "skipped": None, "broke_off": None, "run": None,
        "link": job["link"] or DEFAULT_LINK, "seed": job["seed"], "connections": job["connections"],
        "soak_s": job["soak_s"], "timeout_s": job["timeout_s"], "bare": None, "policies": [], "fidelity": {},
    }  # fmt: skip


def outcome_word(found: Mapping[str, Any], *, judged: bool, works: bool) -> str:
    """Return the word for a tool under a policy; `works`: it does without a censor, so that one may be to blame."""
    word = judge.verdict(found["success"])
    if found["started"] is not None:
        return "blocked" if judged and works else "broken"
    if found["died"] or (word == "blocked" and not (judged and works)):
        return "broken"
    return word


def read_result(folder: Path) -> dict[str, Any]:
    """Read what `play` wrote; a bug of ours if there is nothing."""
    path = folder / "result.json"
    if not path.exists():
        raise TestbedError("the test of the tool left no result")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
