"""What the censor remembers: one `Flow` a connection, and the table that bounds them.

A flow is found by the bytes of its packets: the *key* is source and destination address and both ports as they stand in
the header, so that the usual packet costs one slice and one look-up. The key of the flow is that of its client, whoever
was seen first to send, but for a SYN+ACK, which is a server's; the table knows it under the mirrored key too.

The handshake moves by this table (what the censor *believes* of a connection is `tracking`'s):

    packet seen            NEW          OPENING        ESTABLISHED
    SYN                    OPENING      OPENING        ESTABLISHED, OPENING if the connection had ended
    ACK by the client      NEW          ESTABLISHED    ESTABLISHED     `handshake_just_done` is set once
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from testbed.dpi.tracking import Entry

if TYPE_CHECKING:
    from testbed.dpi.candidates import Candidates
    from testbed.dpi.decision import Decision
    from testbed.dpi.fate import Fate
    from testbed.dpi.stream import Stream

Endpoint = tuple[bytes, int]
IDLE_S = 300.0
TORN_ANY, TORN_VALID, CLOSED, CLIENT_DONE, SERVER_DONE = 1, 2, 4, 8, 16
ALL_DONE = CLIENT_DONE | SERVER_DONE


class TcpState(IntEnum):
    """How much of the handshake was seen."""

    NEW = 0
    OPENING = 1
    ESTABLISHED = 2


def mirrored(key: bytes) -> bytes:
    """Return the key of packets in the other direction."""
    if len(key) == 12:
        return key[4:8] + key[0:4] + key[10:12] + key[8:10]
    return key[16:32] + key[0:16] + key[34:36] + key[32:34]


_TCP = 6
_NEW, _NO_ENTRY = TcpState.NEW, Entry.NONE


class Deep:
    """What only some flows need: streams put together, first packets kept, half-read QUIC, buckets and counts."""

    __slots__ = (
        "base", "books", "buckets", "client_stream", "counts", "opening", "quic", "server_base", "server_stream",
        "ttls",
    )  # fmt: skip

    def __init__(self) -> None:
        self.base: int | None = None
        self.books: Any = None
        self.server_base: int | None = None
        self.client_stream: Stream | None = None
        self.server_stream: Stream | None = None
        self.opening: Any = None
        self.quic: Any = None
        self.ttls: list[int] = [0, 0]
        self.buckets: dict[str, float] = {}
        self.counts: dict[str, int] = {}


class Flow:
    """A connection as the censor sees it."""

    __slots__ = (
        "candidates", "client_packets", "data_packets", "deep", "entry", "expected", "fate", "from_inside",
        "generation", "handshake_just_done", "isn", "key", "last_seen", "met_late", "peer_expected", "proto",
        "queued_at", "settled", "state", "torn",
    )  # fmt: skip

    candidates: Candidates
    """The rules that stand for it, under the policy of this `generation`."""

    def __init__(self, proto: int, key: bytes, from_inside: bool, now: float) -> None:
        self.proto, self.key, self.from_inside = proto, key, from_inside
        self.last_seen = self.queued_at = now
        self.generation = -1
        self.settled: Decision | None = None
        self.fate: Fate | None = None
        self.deep: Deep | None = None
        self.torn = 0
        self.isn = 0
        self.met_late = False
        self.begin()

    def begin(self) -> None:
        """Start as a new connection; what tore it stays (a SYN does not give the censor its sight back)."""
        self.state: TcpState = _NEW
        self.entry: Entry = _NO_ENTRY
        self.handshake_just_done = False
        self.data_packets = self.client_packets = 0
        self.expected: int | None = None
        self.peer_expected: int | None = None
        self.torn &= ~(CLOSED | ALL_DONE)
        if self.deep is not None:
            self.deep.client_stream = self.deep.server_stream = self.deep.opening = None
            self.deep.base = self.deep.server_base = None

    @property
    def client(self) -> Endpoint:
        """Address and port of whoever was seen first."""
        if len(self.key) == 12:
            return self.key[:4], int.from_bytes(self.key[8:10], "big")
        return self.key[:16], int.from_bytes(self.key[32:34], "big")

    @property
    def server(self) -> Endpoint:
        """Address and port of the other end."""
        if len(self.key) == 12:
            return self.key[4:8], int.from_bytes(self.key[10:12], "big")
        return self.key[16:32], int.from_bytes(self.key[34:36], "big")

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        """Addresses of the server and of the client."""
        half = 4 if len(self.key) == 12 else 16
        return self.key[half : 2 * half], self.key[:half]

    @property
    def inside_address(self) -> bytes:
        """Address of the inside host, whoever opened the flow."""
        return (self.client if self.from_inside else self.server)[0]

    @property
    def outside_address(self) -> bytes:
        """Address of the outside host, whoever opened the flow."""
        return (self.server if self.from_inside else self.client)[0]

    def more(self) -> Deep:
        """Return the rarely needed part, made when first asked for."""
        if self.deep is None:
            self.deep = Deep()
        return self.deep


class FlowTable:
    """The flows of one protocol number, at most `most` of them.

    The one that was silent longest goes first, found by the second-chance rule: flows stand in a queue by age, and one
    that has spoken since it was queued is queued again. Each new flow also lets go of up to two that were idle for too
    long, which nobody would find again anyway: so the table shrinks to what is alive.
    """

    __slots__ = ("_queue", "by_key", "evicted", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.evicted = 0
        self.by_key: dict[bytes, Flow] = {}
        self._queue: deque[Flow] = deque()

    def get(self, proto: int, key: bytes, from_inside: bool, now: float) -> Flow:
        """Return the flow of a packet, made now if it is unknown or was idle for too long."""
        flow = self.by_key.get(key)
        if flow is not None:
            if now - flow.last_seen <= IDLE_S:
                flow.last_seen = now
                return flow
            self._forget(flow)
        queue = self._queue
        for _ in range(2):
            if queue and now - queue[0].queued_at > IDLE_S:
                self._let_go(queue.popleft(), now)
        if len(queue) >= self.most:
            self._evict()
        flow = Flow(proto, key, from_inside, now)
        self.by_key[key] = self.by_key[mirrored(key)] = flow
        queue.append(flow)
        return flow

    def clear(self) -> None:
        """Forget every flow; none of them is counted as thrown out."""
        self.by_key.clear()
        self._queue.clear()

    def opened(self, key: bytes, from_inside: bool, now: float, *, answers: bool) -> Flow:
        """Return the flow of a SYN, or of a SYN+ACK, which `answers` one.

        A connection that is met at its SYN+ACK has its client at the other end, until a SYN says otherwise.
        """
        known = self.by_key.get(key)
        if answers and (known is None or now - known.last_seen > IDLE_S):
            flow = self.get(_TCP, mirrored(key), not from_inside, now)
            flow.met_late = True
            return flow
        if known is not None and known.met_late and not answers:
            if known.key != key and known.state is not TcpState.ESTABLISHED:
                self._forget(known)
            known.met_late = False
        return self.get(_TCP, key, from_inside, now)

    def _let_go(self, oldest: Flow, now: float) -> None:
        """Forget a flow taken from the queue if it is idle; else queue it again."""
        if oldest.queued_at >= 0 and now - oldest.last_seen <= IDLE_S:
            oldest.queued_at = oldest.last_seen
            self._queue.append(oldest)
        elif oldest.queued_at >= 0:
            self._forget(oldest)

    def _forget(self, flow: Flow) -> None:
        self.by_key.pop(flow.key, None)
        self.by_key.pop(mirrored(flow.key), None)
        flow.queued_at = -1.0  # gone; its place in the queue is skipped

    def _evict(self) -> None:
        while True:
            oldest = self._queue.popleft()
            if oldest.queued_at < 0:
                return
            if oldest.last_seen > oldest.queued_at:
                oldest.queued_at = oldest.last_seen
                self._queue.append(oldest)
                continue
            self._forget(oldest)
            self.evicted += 1
            return

    def __iter__(self) -> Iterator[Flow]:
        return (flow for flow in self._queue if flow.queued_at >= 0)

    def __len__(self) -> int:
        return sum(1 for _ in self)
