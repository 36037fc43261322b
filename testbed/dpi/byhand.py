"""Names that a person adds to a censor while it runs, as a teacher does on the live page. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from testbed.dpi.names import check_pattern
from testbed.dpi.policy import Policy
from testbed.dpi.rule import Rule

_NAME = re.compile(r"(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)+")
_ACTIONS: dict[str, dict[str, Any]] = {
    "dns": {"dns_answer": {"a": "127.0.0.1"}},
    "http_host": {"rst": {"to": "both", "flags": "R"}},
    "sni": {"rst": {"to": "both", "flags": "R"}},
}


def pattern_for(name: str) -> str:
    """Return the pattern of a name and everything under it; `ValueError` says what is wrong with the name."""
    try:
        pattern = check_pattern("." + name.strip().strip("."))
    except ValueError:  # it speaks of patterns, which nobody was asked for
        pattern = ""
    if not _NAME.fullmatch(pattern):
        raise ValueError(f"{name!r} is not a domain name; write it like `example.com`")
    return pattern


def with_blocked(policy: Policy, names: Sequence[str]) -> Policy:
    """Return a policy that also forges DNS answers for names and resets their HTTP and TLS connections.

    The rules `typed-dns`, `typed-http_host` and `typed-sni` come first, so that what was typed in is what is seen.
    """
    if not names:
        return policy
    patterns = [pattern_for(name) for name in names]
    evidence = {"mark": "U", "source": "typed in during the run"}
    typed = tuple(
        Rule.model_validate(
            {"name": f"typed-{kind}", "match": {kind: {"patterns": patterns}}, "action": action, "evidence": evidence}
        )
        for kind, action in _ACTIONS.items()
    )
    return policy.model_copy(update={"rules": (*typed, *policy.rules)})
