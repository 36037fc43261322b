"""Whom a match concerns by name: what `explain` asks, without a packet.

A name is asked for in one way (`dns`, `http_host`, `sni`, `quic_sni`). Conditions that are not about names are taken to
hold, so the answer is what a rule *can* do; an exception counts where it holds for sure, that is, by the name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testbed.dpi.match import NAME_KEYS, Match, NameSet

Find = Callable[[NameSet, str], str | None]
"""Returns the pattern of a set by which a name is in it."""
_OVER: Mapping[str, str] = {"dns": "udp", "http_host": "tcp", "sni": "tcp", "quic_sni": "udp"}


def concerned(match: Match, kind: str, name: str, find: Find) -> str | None:
    """Return the pattern that a name asked for in one way runs into, None if there is none.

    Empty, if the match is for all but certain names, and this is none of them.
    """
    return _judge(match, kind, name, find)[1]


def _judge(match: Match, kind: str, name: str, find: Find) -> tuple[bool, str | None]:
    """Return whether a match can hold, and by which pattern."""
    pattern: str | None = None
    if kind != "dns" and match.protocol not in (None, _OVER[kind]):
        return False, None
    for key in NAME_KEYS:
        names: NameSet | None = getattr(match, key)
        if names is not None:
            pattern = find(names, name) if key == kind else None
            if pattern is None:
                return False, None
    inner = [_judge(part, kind, name, find) for part in match.all_of]
    either = [_judge(part, kind, name, find) for part in match.any_of]
    if not all(can for can, _ in inner) or (either and not any(can for can, _ in either)):
        return False, None
    exceptions = (*match.unless, *((match.not_,) if match.not_ is not None else ()))
    if any(_surely(part, kind, name, find) for part in exceptions):
        return False, None
    found = [one for one in (pattern, *(one for _, one in (*inner, *either))) if one is not None]
    if found:
        return True, found[0]
    excepted = any(getattr(part, kind) is not None for exception in exceptions for part in exception.walk())
    return True, "" if excepted and match.protocol in (None, _OVER[kind]) else None


def _surely(match: Match, kind: str, name: str, find: Find) -> bool:
    """Say whether a match holds for a name whatever else is true of the packet."""
    names: NameSet | None = getattr(match, kind)
    if match.model_fields_set - {kind, "protocol", "all_of", "any_of"} or match.protocol not in (None, _OVER[kind]):
        return False
    if names is None and not match.all_of and not match.any_of:
        return False
    own = names is None or find(names, name) is not None
    inner = all(_surely(part, kind, name, find) for part in match.all_of)
    return own and inner and (not match.any_of or any(_surely(part, kind, name, find) for part in match.any_of))
