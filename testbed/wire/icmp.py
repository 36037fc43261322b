"""ICMP (RFC 792, 4884) and ICMPv6 (RFC 4443): echo, and errors with the packet that they quote."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.wire import ip

ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED = 0, 3, 8, 11
UNREACHABLE_V6, TOO_BIG_V6, TIME_EXCEEDED_V6, PARAMETER_V6, ECHO_V6, ECHO_REPLY_V6 = 1, 2, 3, 4, 128, 129
#: Codes of UNREACHABLE that mean "not allowed": network, host, administratively
PROHIBITED = frozenset((9, 10, 13))
#: Codes of UNREACHABLE_V6 that mean it: administratively, by source address policy, reject route
PROHIBITED_V6 = frozenset((1, 5, 6))
_ERRORS = frozenset((UNREACHABLE, 4, 5, TIME_EXCEEDED, 12))
_ERRORS_V6 = frozenset((UNREACHABLE_V6, TOO_BIG_V6, TIME_EXCEEDED_V6, PARAMETER_V6))


@dataclass(frozen=True, slots=True)
class Message:
    """An ICMP message of either version; `rest` is the word behind the checksum."""

    version: int
    type: int
    code: int
    checksum: int
    rest: int
    body: memoryview

    @property
    def is_echo(self) -> bool:
        """Say whether this is a ping."""
        return self.type == (ECHO if self.version == 4 else ECHO_V6)

    @property
    def is_echo_reply(self) -> bool:
        """Say whether this answers one."""
        return self.type == (ECHO_REPLY if self.version == 4 else ECHO_REPLY_V6)

    @property
    def ident(self) -> int:
        """Which ping process asked."""
        return self.rest >> 16

    @property
    def sequence(self) -> int:
        """Its how-manieth."""
        return self.rest & 0xFFFF

    @property
    def mtu(self) -> int:
        """What fits, in a message that says a packet was too big."""
        return self.rest & 0xFFFF if self.version == 4 else self.rest

    @property
    def is_error(self) -> bool:
        """Say whether this tells of a packet that did not arrive, and quotes it."""
        return self.type in (_ERRORS if self.version == 4 else _ERRORS_V6)

    @property
    def is_prohibited(self) -> bool:
        """Say whether a filter admits that it is one."""
        if self.version == 4:
            return self.type == UNREACHABLE and self.code in PROHIBITED
        return self.type == UNREACHABLE_V6 and self.code in PROHIBITED_V6

    @property
    def quoted(self) -> ip.Packet | None:
        """The beginning of the packet that an error tells of, None if this is none or its headers are missing.

        Eight bytes behind the IP header must be there (RFC 792), which hold the ports.
        """
        if not self.is_error:
            return None
        try:
            return ip.parse(self._quotation, cut=True)
        except ValueError:
            return None

    @property
    def extensions(self) -> memoryview:
        """What stands behind the quoted packet, its extension structure (RFC 4884); empty without one."""
        return self.body[len(self._quotation) :]

    @property
    def _quotation(self) -> memoryview:
        words = self.rest >> 16 & 0xFF if self.version == 4 else self.rest >> 24
        length = words * (4 if self.version == 4 else 8)
        extended = self.type in ((UNREACHABLE, TIME_EXCEEDED, 12) if self.version == 4 else (1, 3))
        # A length below 128 is no extension: RFC 4884 §4 pads to that, and old senders leave anything there.
        return self.body[:length] if extended and length >= 128 else self.body


def parse(packet: ip.Packet) -> Message:
    """Read the ICMP message of a packet; `ValueError` if it is cut short or the packet holds none."""
    if packet.proto != (ip.ICMP if packet.version == 4 else ip.ICMPV6):
        raise ValueError(f"IP protocol {packet.proto} is not ICMP")
    data = packet.payload
    if len(data) < 8:
        raise ValueError("an ICMP message cut short")
    return Message(packet.version, data[0], data[1], data[2] << 8 | data[3], int.from_bytes(data[4:8], "big"), data[8:])


def checksum_ok(packet: ip.Packet) -> bool:
    """Say whether a whole packet's ICMP checksum is right; that of version 6 covers the addresses."""
    body = bytes(packet.payload)
    begin = b"" if packet.version == 4 else ip.pseudo_header(packet.src, packet.dst, ip.ICMPV6, len(body))
    return ip.checksum(begin + body) == 0
