"""The fields that strategies name, read and written on a packet's bytes.

Writing a field keeps what a stack would keep right: checksums are computed anew, lengths and data offset follow a
changed payload or option list. A field that was written itself stays as written, right or wrong, until the next write,
as in Geneva. Over IPv6 the TCP and UDP fields work; those of `IP` are IPv4's.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from testbed.tools.geneva import dns
from testbed.wire import ip

#: field → where in its header: first byte, width in bytes, shift, mask
_IP = {
    "version": (0, 1, 4, 15), "ihl": (0, 1, 0, 15), "tos": (1, 1, 0, 255), "len": (2, 2, 0, 65535),
    "id": (4, 2, 0, 65535), "flags": (6, 1, 5, 7), "frag": (6, 2, 0, 0x1FFF), "ttl": (8, 1, 0, 255),
    "proto": (9, 1, 0, 255), "chksum": (10, 2, 0, 65535), "src": (12, 4, 0, 2**32 - 1), "dst": (16, 4, 0, 2**32 - 1),
}  # fmt: skip
_TCP = {
    "sport": (0, 2, 0, 65535), "dport": (2, 2, 0, 65535), "seq": (4, 4, 0, 2**32 - 1), "ack": (8, 4, 0, 2**32 - 1),
    "dataofs": (12, 1, 4, 15), "reserved": (12, 1, 1, 7), "flags": (12, 2, 0, 0x1FF), "window": (14, 2, 0, 65535),
    "chksum": (16, 2, 0, 65535), "urgptr": (18, 2, 0, 65535),
}  # fmt: skip
_UDP = {
    "sport": (0, 2, 0, 65535), "dport": (2, 2, 0, 65535), "len": (4, 2, 0, 65535), "chksum": (6, 2, 0, 65535),
}  # fmt: skip
#: option → kind, bytes of its number (0: hex digits instead), zero bytes behind it
_OPTIONS = {
    "options-eol": (0, 0, 0), "options-nop": (1, 0, 0), "options-mss": (2, 2, 0), "options-wscale": (3, 1, 0),
    "options-sackok": (4, 0, 0), "options-sack": (5, 0, 0), "options-timestamp": (8, 4, 4),
    "options-altchksum": (14, 1, 2), "options-altchksumopt": (15, 0, 0), "options-md5header": (19, 0, 0),
    "options-uto": (28, 2, 0),
}  # fmt: skip
_SINGLE, _MD5, _MOST_OPTIONS = (0, 1), 19, 40
FIELDS: dict[str, tuple[str, ...]] = {
    "IP": (*_IP, "load"), "TCP": (*_TCP, "load", *_OPTIONS), "UDP": (*_UDP, "load"),
    "DNS": (*dns.HEADER, "qd"), "DNSQR": ("qname", *dns.QUESTION),
}  # fmt: skip
_LAYOUT = {"IP": _IP, "TCP": _TCP, "UDP": _UDP, "DNS": dns.HEADER, "DNSQR": dns.QUESTION}
_DNS_PORT, _CORRUPT_NAME = b"\0\x35", "example.com."
_TCP_FLAGS, _IP_FLAGS = "FSRPAUECN", ("MF", "DF", "evil")
_WORDS = {
    b"__HTTP_REQUEST__": b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
    b"__DNS_REQUEST__": b"\0009i\1\0\0\1\0\0\0\0\0\0\x07example\3com\0\0\1\0\1",
}
Chance = Callable[[int], int]
"""Chance(n): a whole number from 0 to n - 1."""


@dataclass(slots=True)
class Packet:
    """A packet in its parts; `transport` is `TCP`, `UDP` or empty, `delay_s` how much later it is sent.

    `padding` counts the zeros behind the TCP options that a strategy wrote: an option written later stands before them.
    """

    head: bytearray
    is_v4: bool
    transport: str
    middle: bytearray
    load: bytes
    delay_s: float = 0.0
    padding: int = 0

    def __bytes__(self) -> bytes:
        return bytes(self.head + self.middle) + self.load

    def copy(self) -> Packet:
        """Return a packet of the same content, which is not sent later: so Geneva's copies forget their sleep."""
        head, middle = bytearray(self.head), bytearray(self.middle)
        return Packet(head, self.is_v4, self.transport, middle, self.load, padding=self.padding)

    def has(self, proto: str) -> bool:
        """Say whether the packet has that layer; DNS is a message over UDP to or from port 53."""
        if proto in ("DNS", "DNSQR"):
            speaks = self.transport == "UDP" and _DNS_PORT in (self.middle[0:2], self.middle[2:4])
            if not speaks or len(self.load) < dns.HEADER_BYTES:
                return False
            return proto == "DNS" or dns.name_of(self.load) is not None
        return self.is_v4 if proto == "IP" else self.transport == proto


def dissect(raw: bytes | memoryview) -> Packet:
    """Take a packet apart; `ValueError` if it is broken. Later fragments and other protocols are all load."""
    whole = ip.parse(raw)
    head, body, is_v4 = bytearray(whole.raw[: whole.header_len]), bytes(whole.payload), whole.version == 4
    if whole.frag_offset == 0 and whole.proto == ip.TCP and len(body) >= 20:
        size = (body[12] >> 4) * 4
        if 20 <= size <= len(body):
            return Packet(head, is_v4, "TCP", bytearray(body[:size]), body[size:])
    if whole.frag_offset == 0 and whole.proto == ip.UDP and len(body) >= 8:
        return Packet(head, is_v4, "UDP", bytearray(body[:8]), body[8:])
    return Packet(head, is_v4, "", bytearray(), body)


def is_number(proto: str, name: str) -> bool:
    """Say whether numbers can be added to a field."""
    return name in _LAYOUT[proto] or bool(_OPTIONS.get(name, (0, 0, 0))[1])


def value_problem(proto: str, name: str, value: str) -> str | None:
    """Return why a text can't be a field's value, as a mend; None if it can."""
    if name == "qd":
        return "only `tamper{DNS:qd:compress}` works on it"
    if name == "load" or value == "":
        return None
    if name == "qname":
        return None if value.isascii() and all(len(label) < 64 for label in value.split(".")) else "write a domain name"
    if name == "flags":
        known = _TCP_FLAGS if proto == "TCP" else "+".join(_IP_FLAGS)
        return None if _flags(proto, value) is not None else f"use the letters {known}"
    if name in ("src", "dst"):
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return "write an IPv4 address"
        return None
    most = _LAYOUT[proto][name][3] if name in _LAYOUT[proto] else 256 ** _OPTIONS[name][1] - 1
    if name in _OPTIONS and not _OPTIONS[name][1]:
        try:
            bytes.fromhex(value)
        except ValueError:
            return "write hex digits"
        return None
    return None if value.isdigit() and int(value) <= most else f"write a number from 0 to {most}"


def _flags(proto: str, text: str) -> int | None:
    if text.isdigit():
        return int(text)
    if proto == "TCP":
        return None if set(text) - set(_TCP_FLAGS) else sum(1 << _TCP_FLAGS.index(letter) for letter in set(text))
    words = text.split("+")
    return None if set(words) - set(_IP_FLAGS) else sum(1 << _IP_FLAGS.index(word) for word in set(words))


def matches(packet: Packet, proto: str, name: str, value: str) -> bool:
    """Say whether a field has a value; an absent option is an empty one, `…*` a part of the value."""
    if not packet.has(proto):
        return False
    if name == "load":
        wanted = unquote_to_bytes(value.removesuffix("*"))
        return wanted in packet.load if value.endswith("*") else wanted == packet.load
    is_text = value.endswith("*") or name == "qname" or (name in _OPTIONS and not _OPTIONS[name][1])
    if is_text or value == "":
        text = _text(packet, proto, name)
        return value[:-1] in text if value.endswith("*") else value.lower() == text
    number = read(packet, proto, name)
    return number is not None and number == _number(proto, name, value)


def _text(packet: Packet, proto: str, name: str) -> str:
    if name == "qname":
        labels, _ = dns.name_of(packet.load) or ([], 0)
        return ".".join(label.decode("latin-1") for label in labels).lower() + "."
    if name in _OPTIONS and not _OPTIONS[name][1]:
        found = _find_option(packet, _OPTIONS[name][0])
        return "" if found is None else found.hex()
    number = read(packet, proto, name)
    if number is None:
        return ""
    if name == "flags" and proto == "TCP":
        return "".join(letter for bit, letter in enumerate(_TCP_FLAGS) if number >> bit & 1)
    if name == "flags":
        return "+".join(word for bit, word in enumerate(_IP_FLAGS) if number >> bit & 1)
    return str(ipaddress.IPv4Address(number)) if name in ("src", "dst") else str(number)


def _number(proto: str, name: str, value: str) -> int:
    if name == "flags":
        return _flags(proto, value) or 0
    return int(ipaddress.IPv4Address(value)) if name in ("src", "dst") else int(value or "0")


def read(packet: Packet, proto: str, name: str) -> int | None:
    """Return a numeric field; None where an option is absent."""
    if name in _OPTIONS:
        found = _find_option(packet, _OPTIONS[name][0])
        return None if found is None else int.from_bytes(found[: _OPTIONS[name][1]], "big")
    at, width, shift, mask = _LAYOUT[proto][name]
    header, begin = _header(packet, proto)
    return int.from_bytes(header[begin + at : begin + at + width], "big") >> shift & mask


def _header(packet: Packet, proto: str) -> tuple[bytearray, int]:
    """Return the bytes that a protocol's fields stand in, and where they begin; those of DNS are a copy."""
    if proto == "DNSQR":
        _, end = dns.name_of(packet.load) or ([], len(packet.load))
        return bytearray(packet.load), end
    if proto == "DNS":
        return bytearray(packet.load), 0
    return (packet.head if proto == "IP" else packet.middle), 0


def write(packet: Packet, proto: str, name: str, value: int | bytes) -> None:
    """Set a field to a number, a load or an option to bytes; does nothing where the packet has no such layer."""
    if not packet.has(proto):
        return
    if name == "load":
        _write_load(packet, proto, bytes(value) if not isinstance(value, int) else b"")
    elif name in _OPTIONS:
        _write_option(packet, name, value)
    else:
        at, width, shift, mask = _LAYOUT[proto][name]
        header, begin = _header(packet, proto)
        place = slice(begin + at, begin + at + width)
        kept = int.from_bytes(header[place], "big") & ~(mask << shift)
        number = kept | (int(value) & mask) << shift if isinstance(value, int) else kept
        header[place] = number.to_bytes(width, "big")
        if proto in ("DNS", "DNSQR"):
            packet.load = bytes(header)
    restore_checksums(packet, but=(proto, name))


def replace(packet: Packet, proto: str, name: str, value: str) -> None:
    """Set a field to what a strategy writes."""
    if name == "qname":
        _write_message(packet, dns.named(packet.load, value))
    elif name == "load":
        load = unquote_to_bytes(value)
        for word, stands_for in _WORDS.items():
            load = load.replace(word, stands_for)
        write(packet, proto, name, load)
    elif name in _OPTIONS and not _OPTIONS[name][1]:
        write(packet, proto, name, bytes.fromhex(value))
    else:
        write(packet, proto, name, _number(proto, name, value))


def corrupt(packet: Packet, proto: str, name: str, chance: Chance) -> None:
    """Set a field to a value of chance, never to the one it has."""
    if not packet.has(proto):
        return
    if name == "qname":
        _write_message(packet, dns.named(packet.load, _CORRUPT_NAME))
    elif name == "load":
        letters = bytes(b"abcdefghijklmnopqrstuvwxyz0123456789"[chance(36)] for _ in range(10))
        write(packet, proto, name, (b"", *_WORDS.values(), letters)[chance(2 + len(_WORDS))])
    elif name in _OPTIONS:
        kind, width, _ = _OPTIONS[name]
        size = width or (16 if kind == _MD5 else 0)
        write(packet, proto, name, bytes(chance(256) for _ in range(size)))
    else:
        now, most = read(packet, proto, name), _LAYOUT[proto][name][3]
        low = 1 if name in ("chksum", "dataofs") else 0
        drawn = low + chance(most - low)
        write(packet, proto, name, drawn + 1 if drawn == now else drawn)


def compress(packet: Packet) -> None:
    """Let a question over UDP be compressed as Geneva does it."""
    if packet.has("DNSQR"):
        _write_message(packet, dns.compressed(packet.load))


def _write_message(packet: Packet, message: bytes) -> None:
    packet.load = message
    restore_lengths(packet)
    restore_checksums(packet)


def restore_checksums(packet: Packet, but: tuple[str, str] = ("", "")) -> None:
    """Compute all checksums anew, except a field that was just written."""
    is_v4 = packet.is_v4
    if is_v4 and but != ("IP", "chksum"):
        packet.head[10:12] = b"\0\0"
        packet.head[10:12] = struct.pack("!H", ip.checksum(bytes(packet.head)))
    if packet.transport and but != (packet.transport, "chksum"):
        at, proto = (16, ip.TCP) if packet.transport == "TCP" else (6, ip.UDP)
        packet.middle[at : at + 2] = b"\0\0"
        body = bytes(packet.middle) + packet.load
        src, dst = (packet.head[12:16], packet.head[16:20]) if is_v4 else (packet.head[8:24], packet.head[24:40])
        # a length that was tampered with counts in the pseudo header, as it will where the packet arrives
        length = max(0, int.from_bytes(packet.head[2:4], "big") - (packet.head[0] & 15) * 4) if is_v4 else len(body)
        total = ip.checksum(ip.pseudo_header(bytes(src), bytes(dst), proto, length) + body)
        packet.middle[at : at + 2] = struct.pack("!H", total or (0xFFFF if proto == ip.UDP else 0))


def restore_lengths(packet: Packet) -> None:
    """Set total length, UDP length and data offset to what is there."""
    body = len(packet.middle) + len(packet.load)
    if packet.is_v4:
        packet.head[2:4] = struct.pack("!H", min(len(packet.head) + body, 65535))
    else:
        packet.head[4:6] = struct.pack("!H", min(len(packet.head) - 40 + body, 65535))
    if packet.transport == "UDP":
        packet.middle[4:6] = struct.pack("!H", min(body, 65535))
    elif packet.transport == "TCP":
        packet.middle[12] = packet.middle[12] & 15 | len(packet.middle) // 4 << 4


def _write_load(packet: Packet, proto: str, load: bytes) -> None:
    if proto == "IP":
        packet.transport, packet.middle = "", bytearray()
    kept_offset = packet.middle[12:13]
    packet.load = load
    restore_lengths(packet)
    if packet.transport == "TCP":
        packet.middle[12:13] = kept_offset  # only the IP length follows a load


def _options(packet: Packet) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    rest = bytes(packet.middle[20 : len(packet.middle) - packet.padding])
    while rest:
        if rest[0] in _SINGLE:
            found.append((rest[0], b""))
            if rest[0] == 0:
                break
            rest = rest[1:]
        elif len(rest) < 2 or not 2 <= rest[1] <= len(rest):
            break
        else:
            found.append((rest[0], rest[2 : rest[1]]))
            rest = rest[rest[1] :]
    return found


def _find_option(packet: Packet, kind: int) -> bytes | None:
    return next((content for found, content in _options(packet) if found == kind), None)


def _write_option(packet: Packet, name: str, value: int | bytes) -> None:
    """Replace an option or add it at the end; one that no longer fits into a header is left out."""
    kind, width, zeros = _OPTIONS[name]
    content = value.to_bytes(width, "big") if isinstance(value, int) else value
    content += b"\0" * zeros if width else b""
    options = _options(packet)
    place = next((index for index, (found, _) in enumerate(options) if found == kind), len(options))
    options[place : place + 1] = [(kind, content)]
    packed = b"".join(bytes([k]) if k in _SINGLE else bytes([k, len(c) + 2]) + c for k, c in options)
    padding = -len(packed) % 4
    if len(packed) + padding <= _MOST_OPTIONS:
        packet.middle[20:], packet.padding = packed + b"\0" * padding, padding
        restore_lengths(packet)
