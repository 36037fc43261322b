"""What arguments take, as far as Tab completes it: shipped names, files, or both."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from testbed import shipped


class Word(click.types.StringParamType):
    """Any text; Tab offers the names that ship in some folders, further words, and, if `files`, the files at hand."""

    def __init__(self, *folders: str, words: Sequence[str] = (), files: bool = True) -> None:
        self._folders, self._words, self._files = folders, tuple(words), files

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what an incomplete word may become; a shell that finds no name among it completes a file."""
        names = [name for folder in self._folders for name in shipped.names(folder)] + list(self._words)
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *found] if self._files else found


SCENARIO, POLICY, RECIPE = Word("scenarios"), Word("policies"), Word("recipes")
LINK, MATRIX = Word("scenarios/links", words=("none",)), Word("matrices")
FILE = Word()
