"""A circumvention tool of a recipe in a live net, and how programs use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Using:
    """How apps use a tool that runs: by its proxy, or by words put before their command; neither: the whole host."""

    recipe: str
    name: str
    node: str
    proxy: str | None
    wrapper: tuple[str, ...]
    command: tuple[str, ...]
    """The tool's own client; `{{ url }}` in it stands for the page."""
