"""The fenced blocks of a lab's pages: commands for the machine, for a host, and the files of a teacher's solution."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r'^```(\w+)(?: (title|file)="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `host`: typed in that host; `file`: the contents of that file."""

    language: str
    text: str
    host: str = ""
    file: str = ""


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks in order."""
    found = []
    for language, key, value, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        found.append(Block(language, text, **({"host" if key == "title" else "file": value} if key else {})))
    return found


def commands(page: Path) -> list[Block]:
    """Return the blocks that are to be run."""
    return [block for block in blocks(page) if block.language == "sh" and not block.file]


def solution(page: Path) -> dict[str, str]:
    """Return the files of a teacher's solution: name → contents."""
    return {block.file: block.text for block in blocks(page) if block.file}
