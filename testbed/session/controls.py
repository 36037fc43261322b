"""Both sides of a verdict in a live net: before anything is believed, the censor and the net are shown to be alive.

A host without the tool must be kept from a site that it reaches without the censor, and must reach another. The sites
are looked for once for each policy; every time after that the two that were found are tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.dpi.policy import load_policy
from testbed.errors import UnfaithfulError
from testbed.run.controls import (
    BLOCKED_ONES,
    OTHER_PORT,
    PASSING_ONES,
    RACES,
    bears_a_grudge,
    candidates,
    sees_one_at_a_time,
    sites_of,
)
from testbed.session.seen import Page, page_of
from testbed.tools import judge

_SEARCH_S, _LEAST_S, _TIMES = 10.0, 2.0, 5.0
Fetch = Callable[[Sequence[str], float], list[Page]]
SetPolicy = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Controlled:
    """What the control host saw: a page that passes (None if none does), one that is blocked, and how."""

    policy: str
    passes: str | None
    blocked: str | None
    how: str | None

    def __str__(self) -> str:
        blocked = f"{self.blocked} is blocked ({self.how})" if self.blocked else "nothing is to be blocked"
        passes = f"{self.passes} passes" if self.passes else "nothing passes, as it does without the censor"
        return f"control under {self.policy}: {blocked}, {passes}"


class Controls:
    """The control host of one net. `set_policy` brings a censor that has seen nobody yet, if only the same again."""

    def __init__(self, fetch: Fetch, set_policy: SetPolicy) -> None:
        self._fetch, self._set_policy = fetch, set_policy
        self._reachable: dict[str, bool] = {}
        self._found: dict[tuple[str, str | None], tuple[Controlled, float]] = {}
        self._see_one: set[str] = set()
        self._to_renew: set[str] = set()

    def show(self, policy: str, control: str | None) -> Controlled:
        """Take a policy and show that it acts, and that the net is alive; `UnfaithfulError` if it can't be shown.

        `control`: a page that the policy blocks; without it one is found by trying.
        """
        self._set_policy(policy)
        key = (policy, control)
        if key in self._found:
            return self._again(*self._found[key])
        loaded = load_policy(policy)
        if sees_one_at_a_time(loaded):
            self._see_one.add(policy)
        if policy in self._see_one or bears_a_grudge(loaded):
            self._to_renew.add(policy)
        tried = [page_of(control)] if control else self._sites(policy)
        self._try_without_censor(tried, policy)
        seen, slowest_s = self._seen(policy, PASSING_ONES, tried if policy != "open" else [], _SEARCH_S)
        self._believe(seen, control)
        self._found[key] = (seen, slowest_s)
        return seen

    def _sites(self, policy: str) -> list[str]:
        """Return pages that a policy may block: well-known ones, those of its own rules, another port."""
        if policy in self._see_one:  # one page is all that it will see: the surest
            return candidates(load_policy(policy), _SEARCH_S)
        return list(dict.fromkeys([*BLOCKED_ONES, *sites_of(load_policy(policy), _SEARCH_S), OTHER_PORT]))

    def _try_without_censor(self, urls: Sequence[str], policy: str) -> None:
        unknown = [url for url in urls if url not in self._reachable]
        if not unknown or policy == "open":
            return
        self._set_policy("open")
        self._reachable |= {page.url: page.ok for page in self._fetch(unknown, _SEARCH_S)}
        self._set_policy(policy)

    def _again(self, before: Controlled, slowest_s: float) -> Controlled:
        passing = [before.passes] if before.passes else []
        blocked = [before.blocked] if before.blocked else []
        within_s = min(_SEARCH_S, max(_LEAST_S, _TIMES * slowest_s))
        seen, _ = self._seen(before.policy, passing, blocked, within_s)
        self._believe(seen, before.blocked)
        return seen

    def _seen(
        self, policy: str, passing: Sequence[str], blocked: Sequence[str], within_s: float
    ) -> tuple[Controlled, float]:  # fmt: skip
        """Return what is seen, of several the quickest, and how long the pages took that came."""
        reachable = [url for url, reached in self._reachable.items() if reached]
        if policy in self._see_one:
            pages = self._fetch(passing, within_s) + self._race(
                policy, [u for u in blocked if u in reachable], within_s
            )
        else:
            pages = self._fetch([*passing, *blocked], within_s)
        pages.sort(key=lambda page: page.total_s)
        sides = [
            [{"url": p.url, "failure": p.failure, "operation": p.operation} for p in pages if p.url in side]
            for side in (passing, blocked)
        ]
        if policy in self._to_renew:  # what the control said is not the others' fault
            self._set_policy(policy)
        found = judge.controls(sides[0], sides[1], reachable)
        seen = Controlled(policy, found["passes"], found["blocked"], found["how"])
        return seen, max((page.total_s for page in pages if page.ok), default=0.0)

    def _race(self, policy: str, urls: Sequence[str], within_s: float) -> list[Page]:
        """Fetch the first page behind a censor that has seen nobody yet, until it is stopped."""
        pages: list[Page] = []
        for _ in range(RACES if urls else 0):
            self._set_policy(policy)
            pages = self._fetch(urls[:1], within_s)
            if not pages[0].ok:
                break
        return pages

    def _believe(self, seen: Controlled, control: str | None) -> None:
        if seen.passes is None and not self._alive_without_censor(seen.policy):
            raise UnfaithfulError("the net is dead: no control site passes, nor would it without the censor")
        if seen.blocked is None and seen.policy != "open":
            tried = control or "any of the control sites"
            mend = "name a page that it blocks with control="
            raise UnfaithfulError(f"under {seen.policy} the control host was not blocked from {tried}; {mend}")

    def _alive_without_censor(self, policy: str) -> bool:
        """A shutdown lets nothing pass; that the net itself is alive is seen with the censor off for a moment."""
        if policy == "open":
            return False
        self._set_policy("open")
        alive = any(page.ok for page in self._fetch(PASSING_ONES[:1], _SEARCH_S))
        self._set_policy(policy)
        return alive
