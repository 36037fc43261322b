"""What a rule can never do: a match that no packet fulfils, an action that has no form for what is matched."""

from __future__ import annotations

from testbed.dpi.match import NAME_KEYS, Match
from testbed.dpi.parser import Parser
from testbed.dpi.rule import Rule

_TCP_WORDS = ("moment", "needs_handshake")
_ALL = frozenset(("tcp", "udp", "icmp"))
_TCP, _UDP = frozenset(("tcp",)), frozenset(("udp",))
_OVER = {"http_host": _TCP, "sni": _TCP, "http": _TCP, "encrypted": _TCP, "quic_sni": _UDP, "quic": _UDP}
_TCP_ONLY = ("rst", "block_page", "tls_alert", "intercept", "probe")
_NO_QUESTION = ("http_host", "sni", "http", "encrypted", "quic_sni", "quic", "tls")


def misfit(rule: Rule, parser: Parser) -> tuple[str, str, str] | None:
    """Return the part that is wrong (`match`, `action`, …), what is wrong and the mend; None if the rule can act."""
    over = _transports(rule.match, parser)
    kind = rule.action.kind
    named = {key for part in _all_of(rule.match) for key in NAME_KEYS if getattr(part, key) is not None}
    if not over or len(named) > 1:
        return "match", "no packet is all of this", "leave one out, or put them under `any:`"
    if kind in _TCP_ONLY and "tcp" not in over:
        what = f"`{kind}` needs TCP, and this is {' or '.join(sorted(map(str.upper, over)))}"
        return "action", what, "take another action, such as `drop: packet`"
    waits = next((word for word in _TCP_WORDS if word in rule.model_fields_set), None)
    if waits is not None and "tcp" not in over:
        what = f"`{waits}` is of TCP, and this is {' or '.join(sorted(map(str.upper, over)))}"
        return waits, what, "leave it out"
    if kind == "dns_answer" and any(getattr(part, key) for part in _all_of(rule.match) for key in _NO_QUESTION):
        return "action", "`dns_answer` needs a DNS question, and this is none", "match `dns`, or take another action"
    return None


def _all_of(match: Match) -> tuple[Match, ...]:
    return (match, *(deeper for part in match.all_of for deeper in _all_of(part)))


def _transports(match: Match, parser: Parser) -> frozenset[str]:
    """Return the transports of packets that may fulfil a match."""
    over = _ALL if match.protocol is None else frozenset((match.protocol,))
    for key, transports in _OVER.items():
        if getattr(match, key):
            over &= transports
    if match.dns or match.dns_types:
        over &= _TCP | _UDP if parser.dns_over_tcp else _UDP
    for part in match.all_of:
        over &= _transports(part, parser)
    if match.any_of:
        over &= frozenset().union(*(_transports(part, parser) for part in match.any_of))
    return over
