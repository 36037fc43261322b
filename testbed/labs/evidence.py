"""What a student's captures show: frames, which of them the censor made, and which it swallowed.

A packet that left the box on the inside and never came in from the outside was injected; one that came in and never
went out was dropped. That needs nothing but the two captures, so a checker does not ask the censor what it did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import InputError, Problem
from testbed.wire import ip, pcap, tcp, tls, udp
from testbed.wire.framing import packet_offset

RST, SYN, ACK = 4, 2, 16
_ICMP, _ECHO_REPLY, _ECHO = 1, 0, 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One IPv4 packet of a capture, numbered as Wireshark does."""

    number: int
    time: float
    packet: ip.Packet
    segment: tcp.Segment | None
    datagram: udp.Datagram | None

    @property
    def source(self) -> str:
        """The sender's address."""
        return ip.address_text(self.packet.src)

    @property
    def target(self) -> str:
        """The receiver's address."""
        return ip.address_text(self.packet.dst)

    @property
    def payload(self) -> bytes:
        """What TCP or UDP carries."""
        inner = self.segment or self.datagram
        return bytes(inner.payload) if inner is not None else b""

    @property
    def flags(self) -> int:
        """TCP's flags; 0 if it is not TCP."""
        return self.segment.flags if self.segment is not None else 0

    @property
    def flow(self) -> tuple[tuple[str, int], ...]:
        """Both ends, the same whichever sent."""
        inner = self.segment or self.datagram
        ports = (inner.sport, inner.dport) if inner is not None else (0, 0)
        return tuple(sorted(((self.source, ports[0]), (self.target, ports[1]))))

    @property
    def identity(self) -> bytes:
        """What stays the same when routers pass a packet on: all but TTL and header checksum."""
        raw = bytes(self.packet.raw[: self.packet.total_len])
        return raw[:8] + raw[9:10] + raw[12:]

    @property
    def echo(self) -> tuple[int, bytes] | None:
        """An ICMP echo's type, and what pairs question and answer."""
        if self.packet.proto != _ICMP or len(self.packet.payload) < 8:
            return None
        kind = self.packet.payload[0]
        return (kind, bytes(self.packet.payload[4:8])) if kind in (_ECHO, _ECHO_REPLY) else None

    @property
    def server_name(self) -> str | None:
        """The name in a TLS hello that begins here."""
        return tls.sni_of_beginning(self.payload) if self.segment is not None and self.payload else None


def read_frames(path: Path) -> list[Frame]:
    """Read a capture's IPv4 packets; `InputError` if it is not there, or none."""
    if not path.is_file():
        raise InputError([Problem(str(path), "is not there yet", "end the lab's country: `testbed lab stop N`")])
    found = []
    with path.open("rb") as source:
        try:
            for record in pcap.Reader(source):
                start = packet_offset(record.linktype, record.data)
                frame = None if start is None else _frame(record, record.data[start:])
                if frame is not None:
                    found.append(frame)
        except ValueError as error:
            raise InputError([Problem(str(path), str(error), "give the capture as the run wrote it")]) from None
    return found


def _frame(record: pcap.Record, raw: bytes) -> Frame | None:
    try:
        packet = ip.parse(raw, cut=True)
        if packet.version != 4:
            return None
        segment = tcp.parse(packet.payload) if packet.proto == ip.TCP and not packet.is_fragment else None
        datagram = udp.parse(packet.payload) if packet.proto == ip.UDP and not packet.is_fragment else None
    except ValueError:
        return None
    return Frame(record.frame, record.timestamp, packet, segment, datagram)


def missing_from(frames: Iterable[Frame], others: Iterable[Frame]) -> list[Frame]:
    """Return the frames that the other side of the box never saw."""
    seen = {frame.identity for frame in others}
    return [frame for frame in frames if frame.identity not in seen]
