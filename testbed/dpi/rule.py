"""One rule of a policy: what is matched, what is done, what stays behind, and why the rule may claim so."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from testbed.documents import Strict
from testbed.dpi.action import Action, Residual
from testbed.dpi.match import Clock, Match
from testbed.units import Fraction


class Evidence(Strict):
    """Why a rule may claim what it does: M measured, R reported, I inferred, U unknown, G general, D digest."""

    mark: Literal["M", "R", "I", "U", "D", "G", "M+R"]
    source: str = Field(min_length=1)
    note: str = ""


class TimedProbability(Strict):
    """Another probability at a time of day."""

    clock: Clock
    """When."""
    probability: Fraction
    """What counts then."""


class Rule(Strict):
    """One rule. Rules are asked in the policy's order; the first that matches acts."""

    name: str = Field(min_length=1)
    match: Match
    action: Action
    residual: Residual | None = None
    probability: Fraction = 1.0
    """Of a connection (or DNS query) being acted on."""
    drawn_per: Literal["connection", "client", "server"] = "connection"
    """What `probability` is drawn for: `client` makes the rule hold for a share of the inside hosts, whoever opens the
    flow, always the same ones; `server` likewise for the outside hosts."""
    by_clock: tuple[TimedProbability, ...] = ()
    """Other probabilities by the time of day; the first that holds counts."""
    moment: Literal["any", "syn", "handshake", "data"] = "any"
    """Which packet of a TCP flow the rule waits for: any, the client's SYN, the one that completes the handshake, one
    that carries data."""
    teardown: Literal["any", "valid", "ignored"] = "any"
    """Which RST makes this rule forget a flow: any, only one with a right checksum, none. Unless this is given, a rule
    that drops by addresses, ports and protocol forgets none."""
    needs_handshake: bool = False
    """Without a handshake the rule arms its residual block but stays silent (facts/turkmenistan.md §1)."""
    evidence: Evidence

    @model_validator(mode="before")
    @classmethod
    def _ban_is_a_block(cls, value: Any) -> Any:
        """Write `action: ban` as what it is: a drop that leaves a block on an address."""
        if isinstance(value, dict) and isinstance(value.get("action"), dict) and value.get("residual") is None:
            ban = value["action"].get("ban")
            if "ban" in value["action"] and (ban is None or ban is True or isinstance(ban, dict)):
                ban = ban if isinstance(ban, dict) else {}
                residual = {"lasts": ban.get("lasts", "1 d"), "key": ban.get("address", "server"), "reaction": "drop"}
                return {**value, "residual": residual}
        return value

    def probability_at(self, now: float) -> float:
        """Return the probability that holds at a Unix time."""
        return next((hours.probability for hours in self.by_clock if hours.clock.holds(now)), self.probability)
