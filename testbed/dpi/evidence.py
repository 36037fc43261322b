"""What matchers are made of: functions that return evidence, or None, and what a policy gives them to work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from testbed.dpi.addresses import GeoTable
from testbed.dpi.flow import Flow
from testbed.dpi.match import Match
from testbed.dpi.names import NameIndex
from testbed.dpi.sight import Sight

Evidence = dict[str, Any]
Standing = Callable[[Flow], Evidence | None]
Passing = Callable[[Sight], Evidence | None]
PlugIn = Callable[[Sight], Evidence | None]
NOTHING: Evidence = {}
"""It matched, and there is nothing to show."""


class Surroundings(Protocol):
    """What a policy gives its matches: the names and prefixes that stand in files, groups, geography, plug-ins."""

    def index_of(self, match: Match, key: str) -> NameIndex:
        """Return the index over a match's names."""

    def prefixes(self, match: Match) -> tuple[str, ...]:
        """Return the prefixes of a match, groups and list files resolved."""

    @property
    def geography(self) -> GeoTable | None:
        """The table of countries and networks."""

    @property
    def plugins(self) -> Mapping[str, PlugIn]:
        """The callables that plug-in matchers stand for."""
