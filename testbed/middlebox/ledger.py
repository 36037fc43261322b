"""What the kernel decided on its own, by rule, kept over changes of policy: new rules begin with empty counters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from testbed.middlebox import kernel
from testbed.middlebox.counters import Counters, Tally


class Ledger:
    """The sums of a box's counters since it was started."""

    def __init__(self, table: str) -> None:
        self._counters = Counters(table)
        self._names: dict[str, str] = {}
        self._seen: dict[str, Tally] = {}
        self._sums: dict[str, Tally] = {}
        self._flows = {name: Tally() for name in (kernel.PASSED, kernel.DROPPED)}

    def begin(self, rules: Sequence[str]) -> None:
        """Begin anew for these rules, whose counters were just made; call `news` before they are."""
        self._names = {kernel.counter_name(index): rule for index, rule in enumerate(rules)}
        self._seen = {}

    def news(self) -> Iterator[tuple[str, Tally]]:
        """Yield each rule that dropped packets since the last call, with how many."""
        found = self._counters.read()
        for name, tally in found.items():
            more = tally - self._seen.get(name, Tally())
            self._seen[name] = tally
            if name in self._flows:
                self._flows[name] += more
            elif more.packets and name in self._names:
                rule = self._names[name]
                self._sums[rule] = self._sums.get(rule, Tally()) + more
                yield rule, more

    def as_json(self) -> dict[str, Any]:
        """Return packets of decided flows, passed and dropped, and of each rule, as of the last `news`."""
        rules = {rule: tally.packets for rule, tally in sorted(self._sums.items())}
        return {**{name: tally.packets for name, tally in self._flows.items()}, "rules": rules}

    def close(self) -> None:
        """Close the socket."""
        self._counters.close()
