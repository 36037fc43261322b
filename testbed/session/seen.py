"""What is seen in a live net: the censor's decisions, a command that ended, a page that was fetched. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from testbed.apps.outcome import blocking_of
from testbed.errors import InputError, Problem
from testbed.report.why import RESOLVER, endpoints

_AFTER_S = 0.2


def page_of(url: str) -> str:
    """Return a page's URL; `InputError` if it is none: what can't be asked for would look like a blocked page."""
    parts = urlsplit(url)
    if (parts.scheme in ("http", "https") and parts.hostname) or (parts.scheme == "dns" and parts.path):
        return url
    raise InputError([Problem(url or "''", "not a page", "write it as `https://site.example/`")])


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of a censor. `t`: seconds since the net came up; `packet`: a hash by which captures find it."""

    t: float
    box: str
    rule: str
    reason: str
    verdict: str
    flow: str
    injections: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    packet: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Decided:
        """Read a line of a box's events."""
        return cls(
            event["t"], event["box"], event["rule"], event["reason"], event["verdict"], event["flow"],
            event["injections"], event["evidence"], event["trigger"]["hash"],
        )  # fmt: skip

    @property
    def did_something(self) -> bool:
        """Whether a packet was kept back or forged, or is a note only."""
        return self.verdict != "pass" or self.injections > 0

    def __str__(self) -> str:
        shown = ", ".join(f"{key} {value}" for key, value in sorted(self.evidence.items()))
        on = f" on {self.flow}" if self.flow else ""
        return f"`{self.rule}`: {self.reason}{on}" + (f" ({shown})" if shown else "")


def fell_on(
    decisions: Iterable[Decided], address: str, resolver: str | None, begun: float, ended: float
) -> tuple[Decided, ...]:
    """Return what fell on a host between two moments; the resolver's questions count where nothing is the host's own.

    What the kernel drops by address is counted by rule and names no flow: it counts for whoever was there.
    """
    meanwhile = [d for d in decisions if begun <= d.t <= ended + _AFTER_S and d.rule != "policy"]
    unnamed = [d for d in meanwhile if not d.flow]
    for own in (address, resolver):
        found = [d for d in meanwhile if own is not None and own in endpoints(d.flow)]
        if found:
            return (*found, *unnamed)
    return tuple(unnamed)


def why_of(decisions: Sequence[Decided]) -> str:
    """Return a line for each thing that the censor did, the same rule on the same reason once."""
    found: dict[tuple[str, str], list[Decided]] = {}
    for decided in decisions:
        if decided.did_something:
            found.setdefault((decided.rule, decided.reason), []).append(decided)
    return "\n".join(f"by {same[0]}" + (f", {len(same)} times" if len(same) > 1 else "") for same in found.values())


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended in a host: its status (124: it was ended after its time, 128 + n: by a signal), what it
    wrote, and what the censor did to its host meanwhile."""

    argv: tuple[str, ...]
    node: str
    status: int
    stdout: str
    stderr: str
    t: float
    duration_s: float
    decisions: tuple[Decided, ...] = ()
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        """Whether the status is 0."""
        return self.status == 0

    @property
    def why(self) -> str:
        """What the censor did, a line for each; empty if nothing."""
        return why_of(self.decisions)

    def __str__(self) -> str:
        ended = "no end" if self.timed_out else f"status {self.status}"
        return f"{shlex.join(self.argv)} in {self.node}: {ended} after {self.duration_s:.2f} s"

    def as_attempt(self) -> dict[str, Any]:
        """Return the line of a run's results."""
        return {
            "app": "command", "name": self.argv[0].rpartition("/")[2], "node": self.node, "t": round(self.t, 4),
            "duration_s": round(self.duration_s, 4), "operation": None, "blocking": None,
            "failure": None if self.ok else f"unknown_failure: exit status {self.status}",
            "verdict": "ok" if self.ok else "blocked", "kpis": {"status": self.status, "total_s": self.duration_s},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was fetched, or the failure in OONI's words and the operation that failed.

    `first_byte_s` counts from the beginning, connections and all; `via` is the address that the server saw, for
    `…/headers`.
    """

    url: str
    node: str
    failure: str | None
    operation: str | None
    status: int | None
    size_bytes: int
    first_byte_s: float | None
    total_s: float
    via: str | None
    t: float
    decisions: tuple[Decided, ...] = ()

    @classmethod
    def of(cls, attempt: Mapping[str, Any], node: str, t: float, decisions: tuple[Decided, ...]) -> Page:
        """Read what `testbed.tools.measure` wrote."""
        return cls(
            attempt["url"], node, attempt["failure"], attempt["operation"], attempt.get("status"),
            attempt.get("bytes", 0), attempt.get("first_byte_s"), attempt["total_s"], attempt.get("via"), t, decisions,
        )  # fmt: skip

    @property
    def ok(self) -> bool:
        """Whether it came, with whatever HTTP status."""
        return self.failure is None

    @property
    def blocking(self) -> str | None:
        """OONI's kind of blocking: `dns`, `tcp_ip`, `http-failure`; None if it came."""
        return None if self.ok else blocking_of(self.operation)

    @property
    def why(self) -> str:
        """What the censor did, a line for each; empty if nothing."""
        return why_of(self.decisions)

    def __str__(self) -> str:
        how = f"HTTP status {self.status}" if self.ok else f"{self.failure} at {self.operation}"
        return f"{self.url} from {self.node}: {how} after {self.total_s:.2f} s"

    def as_attempt(self) -> dict[str, Any]:
        """Return the line of a run's results."""
        kpis = {"load_s": self.total_s, "bytes": self.size_bytes, "ttfb_s": self.first_byte_s, "status": self.status}
        return {
            "app": "web", "name": "web", "node": self.node, "t": round(self.t, 4),
            "duration_s": round(self.total_s, 4), "operation": self.operation, "blocking": self.blocking,
            "failure": self.failure, "verdict": "ok" if self.ok else "blocked",
            "kpis": {key: value for key, value in kpis.items() if value is not None},
        }  # fmt: skip


def resolver_of(nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the address of the provider's resolver, which asks for its hosts."""
    return next((first_address(node) for node in nodes if node["name"] == RESOLVER), None)


def first_address(node: Mapping[str, Any]) -> str:
    """Return a node's first address, without the prefix's length."""
    return str(node["interfaces"][0]["addresses"][0]).partition("/")[0]
