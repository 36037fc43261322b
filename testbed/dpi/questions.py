"""The short road of DNS: most questions concern no rule, and the same ones come again and again.

Where the rules that stand for a flow look at nothing but the question, what they make of a datagram is a function of
its bytes without the ID; those that concern none of them are remembered. Most new ones need not be read either
(`traces`). Whatever may concern a rule goes the long way.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from testbed.dpi.contents import asked
from testbed.dpi.evidence import Surroundings
from testbed.dpi.match import Match
from testbed.dpi.parser import Parser
from testbed.dpi.sight import question_of
from testbed.dpi.traces import Traces

_DNS_PORT = 53
_measures = struct.Struct("!2xH18xHH").unpack_from
_STANDING = frozenset(
    ("protocol", "ports", "origin", "addresses", "address_lists", "countries", "networks", "dns", "dns_types")
)
_TO_THE_ID = (b"\xc0\0", b"\xc0\1")
"""Pointers by which a name may continue in the ID (RFC 1035 §4.1.4): then it matters."""
_MOST, _LONGEST_BYTES = 16_384, 128
"""Questions kept, and the longest of them without its ID: about 3 MB."""


def asks_only_questions(match: Match) -> bool:
    """Say whether a match looks at a packet for its DNS question alone, once it stands for the flow."""
    return match.model_fields_set <= _STANDING and (match.dns is not None or bool(match.dns_types))


class Questions:
    """The questions that concern none of some matches."""

    def __init__(self, matches: Sequence[Match], given: Surroundings, parser: Parser) -> None:
        self._asked = [asked(match, given) for match in matches]
        named = [given.index_of(match, "dns") for match in matches if match.dns is not None]
        self._traces = Traces(named if len(named) == len(matches) else ())
        self._parser = parser
        self._dull: set[bytes] = set()

    def are_dull(self, raw: bytes) -> bool:
        """Say whether a plain IPv4 packet with UDP, whole and with data, concerns none of the matches."""
        packet_bytes, target_port, udp_bytes = _measures(raw)
        if not len(raw) == packet_bytes == udp_bytes + 20 or udp_bytes == 8:
            return False
        if target_port != _DNS_PORT:
            return True
        behind_id = raw[30:]
        if behind_id in self._dull:
            return True
        if not self._traces.rule_out(behind_id):
            question = question_of(raw[28:], self._parser)
            if question is not None and any(ask(question) is not None for ask in self._asked):
                return False
        if len(behind_id) <= _LONGEST_BYTES and not any(pointer in behind_id for pointer in _TO_THE_ID):
            if len(self._dull) >= _MOST:
                self._dull.clear()
            self._dull.add(behind_id)
        return True
