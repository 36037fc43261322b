"""The terminal as the verbs write to it: what they show quotes scenarios, students and the wire, and is no mark-up."""

from __future__ import annotations

from rich.console import Console


def screen(*, errors: bool = False) -> Console:
    """Return standard output (or error) for text whose `[brackets]` and `:colons:` are shown as they are."""
    return Console(stderr=errors, markup=False, emoji=False)
