"""A policy ready for use: its rules compiled, and what the engine must keep watch of because some rule asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.dpi.evidence import Passing
from testbed.dpi.fingerprints import packets_wanted
from testbed.dpi.matchers import CompiledMatch, compile_match
from testbed.dpi.policy import Policy
from testbed.dpi.residual import WIDE
from testbed.dpi.rule import Rule
from testbed.dpi.sight import http_knobs, quic_knobs
from testbed.errors import InputError, Problem
from testbed.wire import http, quic


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule and its compiled match."""

    rule: Rule
    match: CompiledMatch
    passes: Passing
    """The match's passing part, one step nearer."""
    needs_data: bool
    certain: bool
    """Acts whenever it matches."""
    ever: bool
    """May fire at any time of a flow's life, so the flow is never left alone."""
    waits: bool
    """Acts at one moment of a TCP flow only."""
    waits_for_handshake: bool
    waits_for_syn: bool
    follows: bool
    """It follows connections, so a teardown may make it forget one; what drops by headers alone, as the kernel may for
    it, does not."""


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """All rules, and what they need of the engine."""

    policy: Policy
    rules: tuple[CompiledRule, ...]
    names: frozenset[str]
    http: http.Knobs
    quic: quic.QuicKnobs
    keeps_opening: int
    """Data packets of each flow to keep for fingerprints; 0: none."""
    counts_volume: bool
    wide_blocks: bool
    """A block may cover flows that did not draw it, so no flow may be left to the kernel."""
    in_path: bool
    asks_addresses: bool
    """Some rule asks for the addresses of a flow."""
    packets_inspected: int


def compile_policy(policy: Policy) -> CompiledPolicy:
    """Compile a policy; `InputError` if it asks for plug-ins that the user has not allowed."""
    check_plugins(policy)
    matches = [match for rule in policy.rules for match in rule.match.walk()]
    prints = {name for match in matches for name in match.looks_like}
    plugins = any(match.plugin is not None for match in matches)
    sizes = max((len(match.first_packets.sizes) for match in matches if match.first_packets is not None), default=0)
    residuals = [residual for rule in policy.rules if (residual := rule.residual) is not None]
    probes = any(rule.action.probe is not None for rule in policy.rules)
    rules = tuple(_compile(rule, policy) for rule in policy.rules)
    return CompiledPolicy(
        policy, rules, frozenset(policy.rule_names), http_knobs(policy.parser), quic_knobs(policy.parser),
        max(packets_wanted(prints) if prints or plugins else 0, sizes),
        any(match.volume is not None for match in matches),
        probes or any(residual.key in WIDE for residual in residuals), policy.placement == "in-path",
        any(rule.match.by_address for rule in rules), policy.parser.packets_inspected,
    )  # fmt: skip


def check_plugins(policy: Policy) -> None:
    """Raise `InputError` if a policy asks for plug-ins that are not loaded."""
    matches = [match for rule in policy.rules for match in rule.match.walk()]
    wanted = {match.plugin for match in matches if match.plugin is not None} - set(policy.plugins)
    if wanted:
        mend = "read the plug-in, then allow it with --allow-plugins"
        raise InputError([Problem(policy.policy, f"plug-ins are off: {', '.join(sorted(wanted))}", mend)])


def _compile(rule: Rule, policy: Policy) -> CompiledRule:
    match = compile_match(rule.match, policy)
    by_headers = not match.needs_data and rule.moment == "any"
    each = any(part.sender is not None or part.source_port_above is not None for part in rule.match.walk())
    drops = rule.action.drop is not None or rule.action.ban is not None
    return CompiledRule(
        rule, match, match.passes, needs_data=match.needs_data or rule.moment == "data",
        certain=rule.probability >= 1.0 and not rule.by_clock,
        ever=match.ever or bool(rule.by_clock) or (by_headers and each),
        waits=rule.moment in ("handshake", "syn"), waits_for_handshake=rule.moment == "handshake",
        waits_for_syn=rule.moment == "syn",
        follows="teardown" in rule.model_fields_set or not (by_headers and drops),
    )  # fmt: skip
