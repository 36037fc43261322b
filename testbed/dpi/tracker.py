"""Follows TCP connections as a `Tracking` specification says: which segments are believed, which are looked at.

`follow` moves the handshake and the entry of a flow by one segment, and says whether its data may be inspected.
"""

from __future__ import annotations

from testbed.dpi.fingerprints import Opening
from testbed.dpi.flow import ALL_DONE, CLIENT_DONE, CLOSED, SERVER_DONE, TORN_ANY, TORN_VALID, Deep, Flow, TcpState
from testbed.dpi.parser import Parser
from testbed.dpi.sight import Sight
from testbed.dpi.stream import Stream
from testbed.dpi.tracking import EVENTS, Entry, Event, Tracking
from testbed.wire.tcp import ACK, FIN, RST, SYN, URG

_MASK = 0xFFFFFFFF
_LONGEST_STREAM_BYTES = 16384
_TTL_TOLERANCE = 2
_LEAST_OFFSET = 5 << 4
_MD5_OPTION = 19
_OPTIONS_IN_USE = frozenset((0, 1, 2, 3, 4, 5, 8))
_BEGIN_OR_END = SYN | FIN | RST
_TRACKED, _OPENING = Entry.TRACKED, TcpState.OPENING  # a look-up in an enumeration costs as much as the rest


class Tracker:
    """Compiled from a policy; holds state only where the specification has one entry for all flows."""

    def __init__(self, tracking: Tracking, parser: Parser) -> None:
        self._spec, self._parser = tracking, parser
        self._table = tracking.transitions()
        self._renewing = tracking.renewing
        self._exact = tracking.sequence == "exact"
        self._ending = tracking.ending
        self._takes_sequence = self._exact or tracking.teardown.checks == "sequence" or parser.reassembly != "none"
        self._only: Flow | None = None
        self._blinded: set[bytes] = set()
        """Address pairs, or the empty key for everybody, that a careless teardown blinded the censor for."""
        self._wide_teardown = tracking.teardown.checks in ("nothing", "addresses")
        self._simple = not (self._takes_sequence or self._renewing or self._wide_teardown or tracking.entries == "one")
        """A tracked flow stays as it is until a segment that ends it."""
        self.careful = parser.verify_ttl or parser.verify_ack or parser.verify_md5 or parser.verify_checksum
        self._minds_low_offset = parser.verify_data_offset == "low"
        self.careful = self.careful or self._minds_low_offset or parser.verify_options
        self._reassembles = parser.reassembly != "none"
        self._confirms = tracking.server_confirms and self._reassembles
        self._longest = parser.bytes_inspected or _LONGEST_STREAM_BYTES

    def believes(self, sight: Sight, flow: Flow, from_client: bool) -> bool:
        """Say whether a segment passes what a careful censor verifies; one that does not changes nothing."""
        parser = self._parser
        if self._minds_low_offset and sight.raw[sight.header_len + 12] < _LEAST_OFFSET:
            return False
        if parser.verify_checksum and not sight.checksum_ok:
            return False
        if parser.verify_ack and sight.payload and not sight.flags & (ACK | SYN):
            return False
        if parser.verify_options and not _OPTIONS_IN_USE.issuperset(sight.tcp_option_kinds):
            return False
        if parser.verify_md5 and _MD5_OPTION in sight.tcp_option_kinds:
            return False
        if parser.verify_ttl:
            ttls, side = flow.more().ttls, 0 if from_client else 1
            if sight.ttl + _TTL_TOLERANCE < ttls[side]:
                return False
            ttls[side] = max(ttls[side], sight.ttl)
        return True

    def stays_as_it_is(self, flow: Flow, flags: int) -> bool:
        """Say whether a segment of these flags, one without data, moves nothing in a flow."""
        steady = self._simple and not self.careful and flow.entry is _TRACKED and flow.state is not _OPENING
        return steady and not flags & _BEGIN_OR_END and not flow.handshake_just_done

    def follow(self, sight: Sight, flow: Flow, from_client: bool) -> bool:
        """Move a flow on by a segment that is believed; return whether its data may be inspected."""
        flags = sight.flags
        if flow.torn & ALL_DONE == ALL_DONE and flow.deep is not None and not sight.payload:
            flow.deep.client_stream = flow.deep.server_stream = None  # all was said and looked at
        if self._confirms and not from_client and flags & ACK:
            _confirm(sight, flow)
        if flags & _BEGIN_OR_END or flow.state is _OPENING:
            self._shake_hands(sight, flow, from_client, flags)
        else:
            flow.handshake_just_done = False
        return self._move(sight, flow, from_client)

    def _move(self, sight: Sight, flow: Flow, from_client: bool) -> bool:
        """Move a flow's entry; return whether the segment's data may be inspected."""
        flags = sight.flags
        if self._simple and flow.entry is _TRACKED and not flags & _BEGIN_OR_END:
            return True
        event = EVENTS[flags]
        entry_of = flow
        if self._spec.entries == "one":
            if self._only is None:
                self._only = Flow(flow.proto, flow.key, flow.from_inside, 0.0)
            entry_of = self._only
        before = entry_of.entry
        if event in self._ending:
            if self._tears_down(sight, flow, entry_of, from_client, before):
                entry_of.entry = self._table[before, event]
            return self._may_look(sight, entry_of, from_client, flow)
        if before is Entry.TRACKED:
            expected = entry_of.expected if from_client else entry_of.peer_expected
            if event in self._renewing and sight.seq != expected:
                if from_client and expected is not None and self._spec.renews_takes == "one-more":
                    entry_of.expected = (expected + 1) & _MASK
                else:
                    self._take_sequence(sight, entry_of, from_client, event, flow)
                return False
            return self._may_look(sight, entry_of, from_client, flow)
        after = self._table[before, event]
        if after is Entry.TRACKED:
            if before is Entry.RESYNC and self._spec.resync_takes == "expected" and sight.seq != entry_of.expected:
                return False
            entry_of.entry = after
            self._take_sequence(sight, entry_of, from_client, event, flow)
            if event is Event.SYN or event is Event.SYN_ACK:
                return self._spec.inspects_syn
            return self._spec.resync_inspects if before is Entry.RESYNC else True
        return self._may_look(sight, entry_of, from_client, flow)

    def _shake_hands(self, sight: Sight, flow: Flow, from_client: bool, flags: int) -> None:
        flow.handshake_just_done = False
        if flags & _BEGIN_OR_END:
            if flags & (RST | FIN):
                flow.torn |= CLOSED
                if flags & FIN:
                    flow.torn |= CLIENT_DONE if from_client else SERVER_DONE
            elif flow.torn & CLOSED and not flags & ACK:
                flow.begin()
            if flags & SYN and flow.state is TcpState.NEW:
                flow.state = TcpState.OPENING
                if from_client:
                    flow.isn = sight.seq
        elif flow.state is TcpState.OPENING and from_client and flags & ACK:
            flow.state = TcpState.ESTABLISHED
            flow.handshake_just_done = True

    def _tears_down(self, sight: Sight, flow: Flow, entry_of: Flow, from_client: bool, before: Entry) -> bool:
        """Say whether a teardown segment counts, and note which rules it hides the flow from."""
        spec = self._spec.teardown
        if (spec.sender == "client" and not from_client) or (spec.sender == "server" and from_client):
            return False
        right = sight.checksum_ok
        if spec.checksum and not right:
            return False
        if before is Entry.NONE and not spec.before_entry:
            return False
        if self._wide_teardown:
            self._blinded.add(b"" if spec.checks == "nothing" else _pair(flow.key))
            return True
        if entry_of is not flow and entry_of.key != flow.key and before is not Entry.NONE:
            return False
        if spec.checks == "sequence" and before is not Entry.NONE:
            expected = entry_of.expected if from_client else entry_of.peer_expected
            if expected is None or sight.seq != expected:
                return False
        if spec.effect == "blind":
            flow.torn |= TORN_ANY | (TORN_VALID if right else 0)
        return True

    def _may_look(self, sight: Sight, entry_of: Flow, from_client: bool, flow: Flow) -> bool:
        entry = entry_of.entry
        if self._wide_teardown and self._blinded and (b"" in self._blinded or _pair(flow.key) in self._blinded):
            return False
        if entry is Entry.BLIND:
            # the rules that ignore such a teardown still look: `Rule.teardown`
            return entry_of is flow
        if entry is Entry.NONE:
            return self._spec.without_entry == "inspect"
        if entry is Entry.RESYNC:
            return not self._exact
        if not self._takes_sequence:
            return True
        expected = entry_of.expected if from_client else entry_of.peer_expected
        if sight.seq == expected:
            # the published mock censors, which follow exactly, don't count a FIN
            step = len(sight.payload) + (not self._exact and bool(sight.flags & (SYN | FIN)))
            if from_client:
                entry_of.expected = (sight.seq + step) & _MASK
            else:
                entry_of.peer_expected = (sight.seq + step) & _MASK
            return True
        if expected is None and not self._exact:
            self._take_sequence(sight, entry_of, from_client, EVENTS[sight.flags], flow)
            return True
        return not self._exact

    def _take_sequence(self, sight: Sight, entry_of: Flow, from_client: bool, event: Event, flow: Flow) -> None:
        step = 1 if event in (Event.SYN, Event.SYN_ACK) else len(sight.payload)
        following = (sight.seq + step) & _MASK
        if entry_of is not flow:
            entry_of.key = flow.key
        deep = flow.more() if self._reassembles else None
        if not from_client:
            entry_of.peer_expected = following
            if deep is not None:
                deep.server_stream, deep.server_base = None, _first_seq(sight)
            return
        entry_of.expected = following
        if deep is not None:
            deep.client_stream, deep.base = None, _first_seq(sight)

    def data(self, sight: Sight, flow: Flow, from_client: bool) -> bytes:
        """Return the bytes that rules look at for a segment with a payload: its own, or the stream's so far."""
        if not self._reassembles:
            return sight.payload
        if sight.flags & SYN and not self._spec.inspects_syn:
            return b""
        deep: Deep = flow.more()
        stream = deep.client_stream if from_client else deep.server_stream
        if stream is None:
            base = deep.base if from_client else deep.server_base
            stream = Stream(_first_seq(sight) if base is None else base, self._longest)
            if from_client:
                deep.client_stream = stream
            else:
                deep.server_stream = stream
        if sight.flags & URG and self._parser.reassembly == "either":
            pointer = sight.raw[sight.header_len + 18 : sight.header_len + 20]
            stream.mark_urgent(sight.seq + int.from_bytes(pointer, "big") - 1)
        content = stream.add(_first_seq(sight), sight.payload, self._parser.reassembly)
        sight.second_data = stream.second_content
        return content

    def show(self, sight: Sight, flow: Flow, opening: Opening) -> None:
        """Show a segment to the fingerprints: its own bytes, or what `data` has made of its stream with it."""
        if opening.full:
            return
        if sight.flags & SYN and not self._spec.inspects_syn:
            return
        deep = flow.more()
        stream = deep.client_stream if sight.from_client else deep.server_stream
        if stream is None or stream.is_full:
            opening.show(sight.from_client, sight.payload, sight.now, seq=_first_seq(sight))
        else:
            opening.follow(sight.from_client, sight.data, sight.now)


def _confirm(sight: Sight, flow: Flow) -> None:
    """Take the server's word for where the client's stream begins, and for what of it has arrived."""
    deep = flow.more()
    stream, ack = deep.client_stream, sight.ack
    if sight.flags & SYN:
        known = 0 if stream is None else (stream.next_seq - stream.base) & _MASK
        if deep.base is None or (ack - deep.base) & _MASK > known:
            if flow.state is TcpState.ESTABLISHED:
                flow.begin()
            deep.base, deep.client_stream = ack, None
            flow.expected, flow.isn = ack, (ack - 1) & _MASK
    elif stream is not None:
        stream.settle(ack)


def _first_seq(sight: Sight) -> int:
    """Return the sequence number of a segment's first byte of data, which a SYN stands before."""
    return (sight.seq + bool(sight.flags & SYN)) & _MASK


def _pair(key: bytes) -> bytes:
    half = 4 if len(key) == 12 else 16
    one, other = key[:half], key[half : 2 * half]
    return one + other if one <= other else other + one
