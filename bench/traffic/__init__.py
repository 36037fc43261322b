"""Traffic for the benches: deterministic, mixed, and valid enough for tshark to take apart.

Half the packets are bulk data of long TCP flows. The rest is what a country's clients do all day: connections that
carry an HTTP request or a TLS hello (one in three a post-quantum one, larger than a segment), DNS queries and answers,
QUIC Initials that really decrypt, and UDP noise. One name in fifty is one that `tm-2022` blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random

from testbed.wire import ip
from traffic.quic import initial
from traffic.tls import client_hello, server_hello

Packets = Iterator[bytes]
BLOCKED = ("twitter.com", "www.facebook.com", "youtube.com", "azathabar.com")
_SEGMENT_BYTES = 1400
_BEGIN_S, _PACKETS_PER_S = 1_660_000_000, 1000
_SYN, _ACK, _PSH_ACK, _SYN_ACK, _FIN_ACK = 0x02, 0x10, 0x18, 0x12, 0x11


class Host:
    """Two addresses and ports, and the packets between them."""

    def __init__(self, chance: Random, dport: int) -> None:
        self.client = bytes((100, 64 + chance.randrange(64), chance.randrange(256), chance.randrange(1, 255)))
        self.server = bytes((198, 18 + chance.randrange(2), chance.randrange(256), chance.randrange(1, 255)))
        self.sport, self.dport = chance.randrange(32768, 61000), dport
        self.ident = chance.randrange(65536)
        self.seq, self.ack = chance.randrange(1 << 32), chance.randrange(1 << 32)

    def tcp(self, flags: int, data: bytes = b"", back: bool = False, total: int | None = None) -> bytes:
        """A segment; `total` is the data's checksum total if the caller knows it."""
        seq, ack = (self.ack, self.seq) if back else (self.seq, self.ack)
        ports = (self.dport, self.sport) if back else (self.sport, self.dport)
        head = struct.pack("!HHIIBBHHH", *ports, seq, ack, 0x80, flags, 64240, 0, 0)
        head += b"\x01\x01\x08\x0a" + struct.pack("!II", self.ident, 0)
        grown = (seq + len(data) + (flags & 3 != 0)) & 0xFFFFFFFF
        self.seq, self.ack = (self.seq, grown) if back else (grown, self.ack)
        return self._packet(6, head, 16, data, back, total)

    def udp(self, data: bytes, back: bool = False) -> bytes:
        """A datagram."""
        ports = (self.dport, self.sport) if back else (self.sport, self.dport)
        return self._packet(17, struct.pack("!HHHH", *ports, 8 + len(data), 0), 6, data, back, None)

    def _packet(self, proto: int, head: bytes, at: int, data: bytes, back: bool, total: int | None) -> bytes:
        src, dst = (self.server, self.client) if back else (self.client, self.server)
        pseudo = ip.pseudo_header(src, dst, proto, len(head) + len(data)) + head
        total = sum_of(data) if total is None else total
        checksum = (0xFFFF - (int.from_bytes(pseudo, "big") + total) % 0xFFFF) or 0xFFFF
        self.ident = (self.ident + 1) & 0xFFFF
        length = 20 + len(head) + len(data)
        begin = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, length, self.ident, 0x4000, 57 if back else 63, proto, 0, src, dst
        )
        begin = begin[:10] + struct.pack("!H", ip.checksum(begin)) + begin[12:]
        return begin + head[:at] + struct.pack("!H", checksum) + head[at + 2 :] + data


def sum_of(data: bytes) -> int:
    """The one's complement total of data, as a number below 65,535."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF


def _name(chance: Random) -> str:
    if chance.random() < 0.02:
        return chance.choice(BLOCKED)
    return f"{chance.choice(('www', 'api', 'cdn', 'img', 'm'))}.site{int(chance.paretovariate(0.7)) % 5000}.example"


def _bulk(chance: Random) -> Packets:
    """A long download: two segments from the server, then the client's ACK."""
    host, data = Host(chance, 443), chance.randbytes(_SEGMENT_BYTES)
    total = sum_of(data)
    yield from (host.tcp(_SYN), host.tcp(_SYN_ACK, back=True), host.tcp(_ACK))
    yield host.tcp(_PSH_ACK, client_hello(_name(chance), chance))
    while True:
        yield host.tcp(_ACK, data, back=True, total=total)
        yield host.tcp(_PSH_ACK, data, back=True, total=total)
        yield host.tcp(_ACK)


def _web(chance: Random) -> Packets:
    """A connection that is opened, asks once, is answered and closed."""
    plain = chance.random() < 0.3
    host = Host(chance, 80 if plain else 443)
    yield from (host.tcp(_SYN), host.tcp(_SYN_ACK, back=True), host.tcp(_ACK))
    if plain:
        head = f"GET /{chance.randrange(9999)} HTTP/1.1\r\nHost: {_name(chance)}\r\n"
        asked = (head + "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n\r\n").encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 900\r\n\r\n" + b"<p>" * 300
    else:
        asked = client_hello(_name(chance), chance, large=chance.random() < 0.33)
        answer = server_hello(chance)
    for begin in range(0, len(asked), _SEGMENT_BYTES):
        yield host.tcp(_PSH_ACK, asked[begin : begin + _SEGMENT_BYTES])
    yield host.tcp(_ACK, back=True)
    yield host.tcp(_PSH_ACK, answer, back=True)
    yield host.tcp(_ACK)
    yield from (host.tcp(_FIN_ACK), host.tcp(_FIN_ACK, back=True), host.tcp(_ACK))


def _dns(chance: Random) -> Packets:
    host, ident = Host(chance, 53), chance.randrange(65536)
    labels = b"".join(bytes((len(label),)) + label.encode() for label in _name(chance).split("."))
    question = labels + struct.pack("!BHH", 0, chance.choice((1, 28)), 1)
    yield host.udp(struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + question)
    record = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 300, 4, host.server)
    yield host.udp(struct.pack("!HHHHHH", ident, 0x8180, 1, 1, 0, 0) + question + record, back=True)


def _quic(chance: Random) -> Packets:
    host = Host(chance, 443)
    yield host.udp(initial(_name(chance), chance))
    for _ in range(4):
        yield host.udp(b"\x40" + chance.randbytes(chance.randrange(30, 900)), back=chance.random() < 0.7)


def _noise(chance: Random) -> Packets:
    host = Host(chance, chance.randrange(1024, 60000))
    for _ in range(chance.randrange(2, 20)):
        yield host.udp(chance.randbytes(chance.randrange(20, 500)), back=chance.random() < 0.5)


def packets(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `count` IP packets of mixed traffic."""
    chance = Random(seed)
    bulk = [_bulk(chance) for _ in range(200)]
    short = [_web(chance) for _ in range(200)]
    for _ in range(count):
        if chance.random() < 0.5:
            yield next(chance.choice(bulk))
            continue
        at = chance.randrange(len(short))
        while (packet := next(short[at], None)) is None:
            short[at] = chance.choices((_web, _dns, _quic, _noise), (5, 6, 1, 1))[0](chance)
        yield packet


def bulk(count: int, seed: int = 1) -> Iterator[bytes]:
    """Yield `count` IP packets of 200 long TCP flows, handshakes first."""
    chance = Random(seed)
    flows = [_bulk(chance) for _ in range(200)]
    for number in range(count):
        yield next(flows[number % 200])


def write(path: Path, count: int, seed: int = 1) -> None:
    """Write `count` packets as a pcap file with Ethernet frames, a thousand packets a second."""
    with path.open("wb", buffering=1 << 20) as target:
        target.write(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, packet in enumerate(packets(count, seed)):
            seconds, rest = divmod(number, _PACKETS_PER_S)
            length = len(packet) + 14
            target.write(struct.pack("<IIII", _BEGIN_S + seconds, rest * 1000, length, length))
            target.write(b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\x00" + packet)
