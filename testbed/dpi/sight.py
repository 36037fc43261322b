"""What the censor sees in one packet: header fields read at once, contents when first asked for and then kept.

Whatever the number of rules that ask, each part is parsed once a packet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from testbed.dpi.parser import Parser
from testbed.wire import dns, http, ip, quic, tcp, tls, udp
from testbed.wire.quic_packet import Packet, packets

if TYPE_CHECKING:
    from testbed.dpi.compiled import CompiledPolicy
    from testbed.dpi.flow import Flow
    from testbed.dpi.volume import Volumes

_v4_tcp = struct.Struct("!HH4sBB2x4s4sHHIIBBH").unpack_from
_v4_udp = struct.Struct("!HH4sBB2x4s4sHHH").unpack_from
_PLAIN_V4 = 0x45
_HTTP_KNOBS = tuple(name.removeprefix("http_") for name in Parser.model_fields if name.startswith("http_"))


class Sight:
    """One packet of a flow. `data` is what content rules look at: its payload, or the stream it continues."""

    raw: bytes
    version: int
    src: bytes
    dst: bytes
    proto: int
    ttl: int
    key: bytes
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    header_len: int
    payload: bytes
    total_len: int
    is_fragment: bool

    flow: Flow
    from_client: bool
    from_inside: bool
    now: float
    data: bytes
    second_data: bytes | None = None
    """The stream with the other copy of bytes that came twice, to a censor that reads both."""
    compiled: CompiledPolicy
    volumes: Volumes

    @property
    def has_ports(self) -> bool:
        """Say whether this is a whole TCP or UDP header."""
        return self.proto in (ip.TCP, ip.UDP) and not self.is_fragment

    checksum_ok: bool
    """Whether the TCP checksum is right; a packet captured in part is taken at its word."""
    tcp_option_kinds: tuple[int, ...]
    """The kinds of the TCP options, in order."""
    query: dns.Query | None
    """The DNS question of a message to port 53; of the first one in this segment over TCP."""
    message: bytes
    """The DNS message with that question."""
    requests: tuple[http.Request, ...]
    """The HTTP requests that the data holds: the one it begins with, or all where the censor knows pipelining."""
    http_hosts: tuple[str, ...]
    """The hosts of those requests."""
    sni: str | None
    """The server name of the ClientHello that the data begins with."""
    hello: tls.ClientHello | None
    """The whole ClientHello that the data begins with, or that this datagram completes in QUIC."""
    quic_hello: tls.ClientHello | None
    """The ClientHello that this datagram completes in QUIC Initials, decrypted."""
    quic_sni: str | None
    """The server name of that ClientHello."""
    quic_packet: Packet | None
    """The first packet of a datagram with a QUIC long header, not decrypted; of an unknown version too."""

    def __getattr__(self, name: str) -> Any:
        """Read one of the contents and keep it; `functools.cached_property` takes a lock and twice the time."""
        read = _CONTENTS.get(name)
        if read is None:
            raise AttributeError(name)
        value = self.__dict__[name] = read(self)
        return value

    def reads_again(self, data: bytes) -> None:
        """Look at other data than before."""
        self.data = data
        for name in _CONTENTS:
            self.__dict__.pop(name, None)

    @property
    def name(self) -> str:
        """The name that this packet is about, whatever the protocol; empty if there is none."""
        query = self.query
        return (
            query.qname if query is not None else next(iter(self.http_hosts), None) or self.sni or self.quic_sni
        ) or ""

    @property
    def text(self) -> str:
        """The packet's flow: `tcp 100.64.1.1:40000 > 198.19.3.4:443`."""
        source, target = ip.address_text(self.src), ip.address_text(self.dst)
        if not self.has_ports:
            return f"ip/{self.proto} {source} > {target}"
        name = "tcp" if self.proto == ip.TCP else "udp"
        return f"{name} {source}:{self.sport} > {target}:{self.dport}"


def _checksum_ok(sight: Sight) -> bool:
    packet = ip.parse(sight.raw, cut=True)
    return packet.is_cut or tcp.checksum_ok(packet)


def _tcp_option_kinds(sight: Sight) -> tuple[int, ...]:
    at = sight.header_len
    return tcp.parse_options(sight.raw[at + 20 : at + (sight.raw[at + 12] >> 4) * 4]).kinds


def _query(sight: Sight) -> dns.Query | None:
    if sight.dport != 53 or not sight.data:
        return None
    parser = sight.compiled.policy.parser
    if sight.proto == ip.TCP and not parser.dns_over_tcp:
        return None
    return question_of(sight.message, parser)


def _message(sight: Sight) -> bytes:
    return sight.data[2:] if sight.proto == ip.TCP else sight.data


def new_questions(sight: Sight) -> Iterator[tuple[dns.Query, bytes]]:
    """Yield the questions that a segment makes readable in its stream, whose messages may be many (RFC 7766 §6.2.1.1),
    each with its message."""
    deep = sight.flow.more()
    stream = deep.client_stream if sight.from_client else deep.server_stream
    if stream is None:
        return
    at = stream.read_bytes
    while at + 2 < len(sight.data):
        end = at + 2 + int.from_bytes(sight.data[at : at + 2], "big")
        message = sight.data[at + 2 : end]
        found = question_of(message, sight.compiled.policy.parser)
        if found is None and end > len(sight.data):
            return
        at = stream.read_bytes = end
        if found is not None:
            yield found, message


def question_of(message: bytes, parser: Parser) -> dns.Query | None:
    """Return the question of a DNS message, None of an answer and of what this parser doesn't read."""
    try:
        found = dns.parse_query(message, parser.dns_max_count)
    except ValueError:
        return None
    return None if found.is_response else found


def _requests(sight: Sight) -> tuple[http.Request, ...]:
    if sight.proto != ip.TCP or not sight.data:
        return ()
    knobs = sight.compiled.http
    if knobs.pipelined:
        return tuple(http.parse_requests(sight.data, knobs))
    request = http.parse_request(sight.data, knobs)
    return () if request is None else (request,)


def _http_hosts(sight: Sight) -> tuple[str, ...]:
    asked = (host for request in sight.requests for host in (request.host, *request.further_hosts))
    return tuple(dict.fromkeys(host for host in asked if host is not None))


def _sni(sight: Sight) -> str | None:
    """Read the name alone; from the first packet of a large hello too, if it stands there whole."""
    data = sight.data
    if not _may_be_tls(sight):
        return None
    parser = sight.compiled.policy.parser
    joins, skips = parser.tls_join_records, parser.tls_skip_records
    try:
        return tls.server_name(data, join_records=joins, skip_other_records=skips)
    except tls.NeedMore:
        return tls.sni_of_beginning(data)
    except ValueError:
        return tls.sni_of_beginning(data, loose=True) if parser.tls_loose_lengths else None


def _may_be_tls(sight: Sight) -> bool:
    """Look at the first byte, which turns most packets down."""
    if sight.proto != ip.TCP or not sight.data:
        return False
    first = sight.data[0]
    skips = first in tls.RECORD_TYPES and sight.compiled.policy.parser.tls_skip_records
    return first == tls.HANDSHAKE_RECORD or skips


def _hello(sight: Sight) -> tls.ClientHello | None:
    if sight.proto == ip.UDP:
        return sight.quic_hello
    if not _may_be_tls(sight):
        return None
    parser = sight.compiled.policy.parser
    joins, skips = parser.tls_join_records, parser.tls_skip_records
    try:
        return tls.client_hello(sight.data, join_records=joins, skip_other_records=skips)
    except ValueError:
        return None


def _quic_hello(sight: Sight) -> tls.ClientHello | None:
    if sight.proto != ip.UDP or not quic.is_long_header(sight.payload):
        return None
    deep = sight.flow.more()
    if deep.quic is None:
        deep.quic = quic.InitialCollector(sight.compiled.quic)
    found: tls.ClientHello | None = deep.quic.feed(sight.payload, from_client=sight.from_client)
    return found


def _quic_sni(sight: Sight) -> str | None:
    hello = sight.quic_hello
    return hello.sni if hello is not None else None


def _quic_packet(sight: Sight) -> Packet | None:
    if sight.proto != ip.UDP or not (quic.is_long_header(sight.payload) or sight.payload[:1] >= b"\xc0"):
        return None
    try:
        return next(iter(packets(sight.payload)), None)
    except ValueError:
        return None


_CONTENTS: Mapping[str, Callable[[Sight], Any]] = {
    "checksum_ok": _checksum_ok, "tcp_option_kinds": _tcp_option_kinds, "query": _query, "message": _message,
    "requests": _requests, "http_hosts": _http_hosts, "sni": _sni, "hello": _hello,
    "quic_hello": _quic_hello, "quic_sni": _quic_sni, "quic_packet": _quic_packet,
}  # fmt: skip


def http_knobs(parser: Parser) -> http.Knobs:
    """Return the part of a parser specification that HTTP needs."""
    return http.Knobs(**{name: getattr(parser, f"http_{name}") for name in _HTTP_KNOBS})


def quic_knobs(parser: Parser) -> quic.QuicKnobs:
    """Return the part of a parser specification that QUIC needs."""
    frames = {"padding": quic.PADDING, "ping": quic.PING}
    return quic.QuicKnobs(
        versions=frozenset(parser.quic_versions), join=parser.quic_join,
        gives_up_before_crypto=frozenset(frames[name] for name in parser.quic_gives_up_before_crypto),
    )  # fmt: skip


def see(raw: bytes, *, strict_offset: bool = True) -> Sight:
    """Read the headers of a packet; `ValueError` if they are broken. One captured in part ends early."""
    if len(raw) >= 40 and raw[0] == _PLAIN_V4 and not (raw[6] & 0x3F or raw[7]):
        proto = raw[9]
        if proto == ip.TCP:
            _, total, _, ttl, _, src, dst, sport, dport, seq, ack, offset, flags, window = _v4_tcp(raw)
            start = 20 + (offset >> 4) * 4
            if 40 <= start <= total <= len(raw):
                sight = Sight()
                sight.raw, sight.version, sight.src, sight.dst, sight.proto, sight.ttl = raw, 4, src, dst, 6, ttl
                sight.key, sight.sport, sight.dport, sight.seq, sight.ack = raw[12:24], sport, dport, seq, ack
                sight.flags, sight.window, sight.header_len, sight.payload = flags, window, 20, raw[start:total]
                sight.total_len, sight.is_fragment = total, False
                return sight
        elif proto == ip.UDP:
            _, total, _, ttl, _, src, dst, sport, dport, length = _v4_udp(raw)
            if 28 <= 20 + length <= total <= len(raw):
                sight = Sight()
                sight.raw, sight.version, sight.src, sight.dst, sight.proto, sight.ttl = raw, 4, src, dst, 17, ttl
                sight.key, sight.sport, sight.dport, sight.seq, sight.ack = raw[12:24], sport, dport, 0, 0
                sight.flags, sight.window, sight.header_len, sight.payload = 0, 0, 20, raw[28 : 20 + length]
                sight.total_len, sight.is_fragment = total, False
                return sight
    return _see_carefully(raw, strict_offset)


def _see_carefully(raw: bytes, strict_offset: bool) -> Sight:
    """Read what is not a plain IPv4 packet with TCP or UDP inside."""
    packet = ip.parse(raw, cut=True)
    sight = Sight()
    sight.raw, sight.version, sight.src, sight.dst = bytes(packet.raw), packet.version, packet.src, packet.dst
    sight.proto, sight.ttl, sight.header_len, sight.total_len = (
        packet.proto, packet.ttl, packet.header_len, packet.total_len,
    )  # fmt: skip
    sight.is_fragment = packet.is_fragment
    sight.sport = sight.dport = sight.seq = sight.ack = sight.flags = sight.window = 0
    sight.payload = b""
    if not packet.is_fragment:
        if packet.proto == ip.TCP:
            segment = _segment(packet.payload, strict_offset)
            sight.sport, sight.dport, sight.seq, sight.ack = segment.sport, segment.dport, segment.seq, segment.ack
            sight.flags, sight.window, sight.payload = segment.flags, segment.window, bytes(segment.payload)
        elif packet.proto == ip.UDP:
            datagram = udp.parse(packet.payload, cut=True)
            sight.sport, sight.dport, sight.payload = datagram.sport, datagram.dport, bytes(datagram.payload)
        else:
            sight.payload = bytes(packet.payload)
    sight.key = packet.src + packet.dst + struct.pack("!HH", sight.sport, sight.dport)
    return sight


def _segment(data: memoryview, strict_offset: bool) -> tcp.Segment:
    """Read a segment; to a careless censor an offset that is too low is the usual one, too high leaves no data."""
    if not strict_offset and len(data) >= 20 and not 20 <= (data[12] >> 4) * 4 <= len(data):
        plain = bytearray(data if data[12] < 0x50 else data[:20])
        plain[12] = 0x50 | plain[12] & 0x0F
        data = memoryview(bytes(plain))
    return tcp.parse(data)
