"""What the censor remembers: one `Flow` per connection, and the table that bounds them.

The state of a TCP flow moves by this table (client: whoever was seen first to send):

    packet seen                 NEW            OPENING        ESTABLISHED    note
    SYN                         OPENING        OPENING        ESTABLISHED    a SYN does not resynchronise
    ACK by the client           NEW            ESTABLISHED    ESTABLISHED    `handshake_done` is set once
    RST, checksum wrong         torn (any)     torn (any)     torn (any)
    RST, checksum right         torn (valid)   torn (valid)   torn (valid)   also before the SYN

A torn flow is forgotten by the rules whose `teardown` takes that kind of RST, until it has been idle for `IDLE_S`:
that is what the published evasions "RST before SYN" and "bad-checksum RST" show (facts §1, the evasion table).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from testbed.wire import tcp

Endpoint = tuple[bytes, int]
FlowKey = tuple[int, Endpoint, Endpoint]
IDLE_S = 300.0


class TcpState(Enum):
    """How much of the handshake was seen."""

    NEW = "new"
    OPENING = "opening"
    ESTABLISHED = "established"


@dataclass(slots=True)
class Flow:
    """A connection as the censor sees it. `serial` numbers the flows of one engine, for its chances."""

    key: FlowKey
    client: Endpoint
    server: Endpoint
    from_inside: bool
    serial: int
    last_seen: float
    state: TcpState = TcpState.NEW
    handshake_just_done: bool = False
    torn_any: bool = False
    torn_valid: bool = False
    data_packets: int = 0
    stream: bytes = b""
    next_seq: int | None = None
    dropped_by: str | None = None
    bucket_level: float = 0.0
    bucket_time: float = 0.0
    throttled_by: str | None = None

    def see_tcp(self, segment: tcp.Segment, from_client: bool, checksum_ok: bool) -> None:
        """Move on by one segment, as the table above says."""
        self.handshake_just_done = False
        if segment.flags & tcp.RST:
            self.torn_any = True
            self.torn_valid = self.torn_valid or checksum_ok
        elif segment.flags & tcp.SYN and self.state is TcpState.NEW:
            self.state = TcpState.OPENING
            if from_client and not segment.flags & tcp.ACK:
                self.next_seq = (segment.seq + 1) & 0xFFFFFFFF
        elif from_client and segment.flags & tcp.ACK and self.state is TcpState.OPENING:
            self.state = TcpState.ESTABLISHED
            self.handshake_just_done = True

    def extend_stream(self, segment: tcp.Segment, longest: int) -> bytes:
        """Append in-order data of the client and return the stream so far, at most `longest` bytes."""
        if self.next_seq is None or segment.seq == self.next_seq:
            self.stream = (self.stream + bytes(segment.payload))[:longest]
            self.next_seq = (segment.seq + len(segment.payload)) & 0xFFFFFFFF
        return self.stream


class FlowTable:
    """The flows, at most `most` of them; the one that was silent longest goes first and is counted."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.evicted = 0
        self._serial = 0
        self._flows: OrderedDict[FlowKey, Flow] = OrderedDict()

    def get(self, proto: int, src: Endpoint, dst: Endpoint, from_inside: bool, now: float) -> Flow:
        """Return the flow of a packet, made now if it is unknown or was idle for too long."""
        key = (proto, src, dst) if src <= dst else (proto, dst, src)
        flow = self._flows.get(key)
        if flow is not None and now - flow.last_seen <= IDLE_S:
            flow.last_seen = now
            self._flows.move_to_end(key)
            return flow
        self._serial += 1
        flow = Flow(key, src, dst, from_inside, self._serial, now)
        self._flows[key] = flow
        self._flows.move_to_end(key)
        if len(self._flows) > self.most:
            self._flows.popitem(last=False)
            self.evicted += 1
        return flow

    def __len__(self) -> int:
        return len(self._flows)
