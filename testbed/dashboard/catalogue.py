"""What the page offers: scenarios that can be started, policies with their rules and the evidence for each.

Reading all policies takes about a second, and a class opens the page at once: it is read again when a file changed.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from testbed import shipped
from testbed.dashboard.runs import Runs
from testbed.dpi.policy import load_policy
from testbed.errors import InputError


class Catalogue:
    """The catalogue as JSON text, from any thread."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._lock = threading.Lock()
        self._read_at: object = None
        self._text = b""

    def read(self) -> bytes:
        """Return it, read anew if a scenario or a policy was changed since."""
        with self._lock:
            state = _state_of_files()
            if state != self._read_at:
                policies = [found for name in shipped.names("policies") if (found := _policy(name)) is not None]
                listed = {"scenarios": self._runs.scenarios(), "policies": policies}
                self._text = json.dumps(listed, ensure_ascii=False).encode()
                self._read_at = state
            return self._text


def _state_of_files() -> list[tuple[str, int]]:
    paths = [path for kind in ("policies", "scenarios") for path in sorted(shipped.folder(kind).glob("*.yaml"))]
    return [(str(path), path.stat().st_mtime_ns) for path in paths]


def _policy(name: str) -> dict[str, Any] | None:
    """Return a policy, each rule with what it looks for, what it does and on what evidence; None if it is faulty."""
    try:
        policy = load_policy(name)
    except InputError:
        return None  # `testbed check` tells what is wrong with it; the page offers what works
    rules = []
    for rule in policy.rules:
        data = rule.model_dump(mode="json", exclude_defaults=True, by_alias=True)
        rules.append({key: data.get(key) for key in ("name", "match", "action", "evidence")})
    return {"name": name, "title": policy.title, "about": policy.about, "rules": rules}
