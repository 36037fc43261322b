"""Round trips measured from packets that crossed one place before the link: a question and the answer it drew.

What counts, and from what on a sample would lie:

- *TCP* (`syn`, `data`): the newest segment that an ACK covers. Not if the ACK newly covers what was sent twice: nobody
  can tell which copy it answers (Karn and Partridge, SIGCOMM 1987; RFC 6298 §3). A receiver may hold its ACK back
  (RFC 9293 §3.8.6.3), and that is in the sample, as it is in the sender's own. An RST answers nothing: many are forged.
- *TCP timestamps* (`timestamp`, RFC 7323 §4): a download asks with bare ACKs, which nobody acknowledges; the answering
  side's next data echoes their time. It also waits for something to send. It sent nothing between the ACK's arrival and
  the echo that would not have echoed it, so its wait is no longer than its last gap: a sample counts if that is at most
  a quarter of it. One ACK at a time is timed, which gives about one sample a round trip.
- *DNS* over UDP (`dns`): question and first answer of the same ports, number and name; not if it was asked again.
- *QUIC* (`quic`): a connection's first Initial, and the first long header that comes back. A repeated Initial makes it
  unknowable; several within 50 ms are one hello (RFC 9002 §6.2.4 repeats it after a second).

State is bounded: at most 4096 conversations, of each at most 1024 segments on their way. Pure.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from testbed.link.fidelity import Departure
from testbed.wire import dns, ip, quic, tcp, udp

_MOST_FLOWS, _MOST_SEGMENTS = 4096, 1024
_WAIT_SHARE = 0.25
_ONE_HELLO_S = 0.05
_DNS_PORT = 53
_HALF = 1 << 31

Flow = tuple[bytes, int, bytes, int]
_Key = TypeVar("_Key")
_State = TypeVar("_State")


class RoundTrip(NamedTuple):
    """A sample: when the answer came, how long after its question, whose, and by which of the ways above."""

    t: float
    rtt_s: float
    flow: str
    kind: str


_Answered = tuple[float, str, str]
"""When a question passed that is answered now, the kind of its answer, and its flow."""


def measured(packets: Iterable[tuple[float, memoryview]], asks: Callable[[bytes], bool]) -> Iterator[RoundTrip]:
    """Yield the round trips of the questions that pass by, in the order of their answers.

    `packets`: when each IP packet passed, in time order, and its bytes. `asks` says of an address whether it stands on
    the near side, where questions come from that go over the link. What does not parse is passed over, and fragments.
    """
    streams, questions, hellos = _Streams(), _Questions(), _Hellos()
    for now, raw in packets:
        try:
            packet = ip.parse(raw, cut=True)
            near = asks(packet.src)
            if near == asks(packet.dst) or packet.is_fragment:
                continue
            if packet.proto == ip.TCP:
                found = streams.see(now, packet, near)
            elif packet.proto == ip.UDP:
                datagram = udp.parse(packet.payload, cut=True)
                flow = _flow(packet, datagram.sport, datagram.dport, near)
                seen = questions if flow[3] == _DNS_PORT else hellos
                found = seen.see(now, flow, datagram.payload, near)
            else:
                continue
        except ValueError:
            continue
        for when, kind, words in found:
            if now >= when:
                yield RoundTrip(now, now - when, words, kind)


def crossed(departures: Iterable[Departure], interval_s: float = 0.5) -> Iterator[RoundTrip]:
    """Yield what a link's own log says of an interval in which packets left it both ways: median up plus median down.

    For a run without captures; nobody's question and answer, so `flow` is empty and `kind` says `link`.
    """
    spans: dict[int, tuple[list[float], list[float]]] = {}
    for departure in departures:
        spans.setdefault(int(departure.actual // interval_s), ([], []))[departure.direction].append(
            departure.actual - departure.entered
        )
    for number, (up, down) in sorted(spans.items()):
        if up and down:
            yield RoundTrip((number + 0.5) * interval_s, statistics.median(up) + statistics.median(down), "", "link")


def _flow(packet: ip.Packet, sport: int, dport: int, near: bool) -> Flow:
    """Return the two ends of a packet, the one that asks first."""
    return (packet.src, sport, packet.dst, dport) if near else (packet.dst, dport, packet.src, sport)


def _words(proto: str, flow: Flow) -> str:
    """Write a flow as the censor's decisions do."""
    source, sport, target, dport = flow
    return f"{proto} {ip.address_text(source)}:{sport} > {ip.address_text(target)}:{dport}"


def _is_before(a: int, b: int) -> bool:
    """Compare numbers that wrap around (RFC 9293 §3.4, RFC 7323 §5.2)."""
    return (a - b) % (1 << 32) >= _HALF


@dataclass(slots=True)
class _Sent:
    """A segment on its way: the number behind it, when it passed, what it was."""

    end: int
    when: float
    kind: str
    is_twice: bool = False


@dataclass(slots=True)
class _Stream:
    """What is known of one direction of a TCP connection, and of its answers."""

    began: int | None = None
    highest: int | None = None
    """The number behind the newest byte."""
    waiting: deque[_Sent] = field(default_factory=lambda: deque(maxlen=_MOST_SEGMENTS))
    stamp: int | None = None
    """The newest timestamp sent."""
    timed: tuple[int, float] | None = None
    """The bare ACK whose echo is awaited: its timestamp, and when it passed."""
    heard: float = 0.0
    """When the other side's last data came."""


class _Streams:
    """TCP: segments and the ACKs that cover them, timestamps and their echoes."""

    def __init__(self) -> None:
        self._known: OrderedDict[Flow, _Stream] = OrderedDict()

    def see(self, now: float, packet: ip.Packet, near: bool) -> list[_Answered]:
        segment = tcp.parse(packet.payload)
        if segment.flags & tcp.RST:
            return []
        flow = _flow(packet, segment.sport, segment.dport, near)
        stream, is_syn = self._known.get(flow), bool(segment.flags & tcp.SYN)
        if near:
            if stream is None or (is_syn and stream.began != segment.seq):
                stream = self._known[flow] = _Stream(segment.seq if is_syn else None)
            _remember(self._known, flow)
            _ask(stream, segment, now, packet.total_len - packet.header_len - segment.data_offset)
        elif stream is not None and segment.flags & tcp.ACK:
            found = (_covered(stream, segment), _echoed(stream, segment, now))
            return [(each[0], each[1], _words("tcp", flow)) for each in found if each is not None]
        return []


def _ask(stream: _Stream, segment: tcp.Segment, now: float, payload_bytes: int) -> None:
    stamps = tcp.parse_options(segment.options).timestamps
    is_news = stamps is not None and (stream.stamp is None or _is_before(stream.stamp, stamps[0]))
    if stamps is not None and is_news:
        stream.stamp = stamps[0]
    length = payload_bytes + bool(segment.flags & tcp.SYN) + bool(segment.flags & tcp.FIN)
    if length == 0:
        if stamps is not None and is_news and stream.timed is None:
            stream.timed = stamps[0], now
        return
    end = (segment.seq + length) % (1 << 32)
    sent = _Sent(end, now, "syn" if segment.flags & tcp.SYN else "data")
    if stream.highest is not None and _is_before(segment.seq, stream.highest):
        sent.is_twice = True
        for other in stream.waiting:
            other.is_twice |= _is_before(segment.seq, other.end)
        if not _is_before(stream.highest, end):
            return  # nothing new in it; it is covered when those that it repeats are
    stream.waiting.append(sent)
    stream.highest = end


def _covered(stream: _Stream, segment: tcp.Segment) -> tuple[float, str] | None:
    """Return when the newest segment passed that this ACK is the first to cover, and its kind."""
    covered: list[_Sent] = []
    while stream.waiting and not _is_before(segment.ack, stream.waiting[0].end):
        covered.append(stream.waiting.popleft())
    if not covered or any(sent.is_twice for sent in covered):
        return None
    return covered[-1].when, covered[-1].kind


def _echoed(stream: _Stream, segment: tcp.Segment, now: float) -> tuple[float, str] | None:
    """Return when the bare ACK passed whose timestamp this data is the first to echo, and `timestamp`."""
    if not segment.payload:
        return None
    heard, stream.heard = stream.heard, now
    stamps = tcp.parse_options(segment.options).timestamps if stream.timed else None
    if stream.timed is None or stamps is None or _is_before(stamps[1], stream.timed[0]):
        return None
    (value, when), stream.timed = stream.timed, None
    is_sound = stamps[1] == value and now - max(heard, when) <= _WAIT_SHARE * (now - when)
    return (when, "timestamp") if is_sound else None


class _Questions:
    """DNS over UDP. A question that was asked again has no time of its own."""

    def __init__(self) -> None:
        self._asked: OrderedDict[tuple[Flow, int, str, int], float | None] = OrderedDict()

    def see(self, now: float, flow: Flow, payload: memoryview, near: bool) -> list[_Answered]:
        found = dns.parse_query(payload)
        key = (flow, found.id, found.qname, found.qtype)
        if near and not found.is_response:
            self._asked[key] = None if key in self._asked else now
            _remember(self._asked, key)
        elif not near and found.is_response and (when := self._asked.pop(key, None)) is not None:
            return [(when, "dns", _words("udp", flow))]
        return []


@dataclass(slots=True)
class _Hello:
    first: float
    is_open: bool = True


class _Hellos:
    """QUIC's first flight and what it drew."""

    def __init__(self) -> None:
        self._known: OrderedDict[Flow, _Hello] = OrderedDict()

    def see(self, now: float, flow: Flow, payload: memoryview, near: bool) -> list[_Answered]:
        hello = self._known.get(flow)
        if near and quic.is_initial(payload):
            if hello is None:
                self._known[flow] = _Hello(now)
                _remember(self._known, flow)
            elif now - hello.first > _ONE_HELLO_S:
                hello.is_open = False
        elif not near and hello is not None and hello.is_open and quic.is_long_header(payload):
            hello.is_open = False
            return [(hello.first, "quic", _words("udp", flow))]
        return []


def _remember(known: OrderedDict[_Key, _State], key: _Key) -> None:
    """Let the conversation that was silent for longest go where there are too many."""
    known.move_to_end(key)
    if len(known) > _MOST_FLOWS:
        known.popitem(last=False)
