"""DNS on any port (RFC 1035, 7766), and tunnels in it: iodine, dns2tcp, dnscat2, dnstt and their like.

A tunnel is told by what it needs: many questions in one flow whose names differ, carry much and look random. A resolver
uses a new port for each question, and a stub asks short names. The numbers are a model of our own on published features
(Born & Gustafson 2010; Farnham 2013, "Detecting DNS Tunneling", SANS: record types, label length, entropy, rate): at
least three questions of one flow under one domain, whose own part is long (30 or more characters) and of 3.3 bits a
character, or record types that only tunnels ask for (NULL, iodine's PRIVATE 65399), or a name of 110 characters with
two full labels, or the marks of a tool (dns2tcp's `=auth`, dnscat2's `dnscat`).

iodine's raw mode leaves DNS behind: datagrams on port 53 that begin 10 d1 9e and a command (iodine, common.h).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from testbed.dpi.encrypted import entropy
from testbed.dpi.fingerprints.opening import TCP, Opening
from testbed.dpi.fingerprints.recogniser import UNDECIDED, Answer
from testbed.wire.dns import read_name

_HEADER = struct.Struct("!HHHHHH")
_OPCODES = frozenset({0, 1, 2, 4, 5})
_RESERVED_BIT = 0x0040
_CLASSES = frozenset({1, 3, 4, 254, 255, 0x8001, 0x80FF})
_MOST_RECORDS = 256
_NULL, _TXT, _KEY, _OPT, _PRIVATE = 10, 16, 25, 41, 65399
_ONLY_TUNNELS_ASK = frozenset({_NULL, _PRIVATE})
_FEWEST_QUESTIONS = 3
_STUFFED_CHARACTERS, _FULL_LABEL_CHARACTERS = 110, 50
_LONG_CHARACTERS, _RANDOM_BITS = 30, 3.3
_MARKS = ("=auth.", "=connect.", "=resource.", "dnscat.")
_NETBIOS_TYPES, _NETBIOS_NAME = (32, 33), re.compile(r"[a-p]{32}")
_RAW_MAGIC = bytes.fromhex("10d19e")
_RAW_COMMANDS = frozenset({0x10, 0x20, 0x30})


@dataclass(frozen=True, slots=True)
class _Message:
    """A DNS message's first question, and whether it is an answer."""

    name: str
    type: int
    answer: bool


def dns(opening: Opening) -> Answer:
    """Recognise a message whose header and question are sound."""
    for message in _messages(opening):
        return {"name": message.name, "type": message.type, "answer": message.answer}
    stream = opening.client_bytes if opening.proto == TCP else b""
    if 0 < len(stream) < 16 and not opening.has_from(False) and stream[4:5] in (b"", b"\x00", b"\x01"):
        return UNDECIDED
    return None


def _messages(opening: Opening) -> Iterator[_Message]:
    if opening.proto != TCP:
        for packet in opening.packets:
            if (found := _parse(packet.payload, packet.length)) is not None:
                yield found
        return
    for client in (True, False):
        stream, offset = opening.stream(client), 0
        while offset + 2 <= len(stream):
            size = int.from_bytes(stream[offset : offset + 2], "big")
            found = _parse(stream[offset + 2 : offset + 2 + size], size)
            if found is None:
                break
            yield found
            offset += 2 + size


def _parse(data: bytes, length: int) -> _Message | None:
    """Read a message strictly, None if it is none. An answer may come without a question (RFC 6762 §6)."""
    if len(data) < 17:
        return None
    _, flags, questions, answers, authorities, additions = _HEADER.unpack_from(data)
    answer = bool(flags & 0x8000)
    if flags & _RESERVED_BIT or flags >> 11 & 15 not in _OPCODES or (not answer and flags & 0x000F):
        return None
    if questions > 1 or (not questions and not (answer and answers)):
        return None
    if answers + authorities + additions > _MOST_RECORDS:
        return None
    try:
        name, end = read_name(memoryview(data), 12)
        kind, of = struct.unpack_from("!HH", data, end)
    except (ValueError, struct.error):
        return None
    if of not in _CLASSES or not kind or not _is_name(name):
        return None
    if kind in _NETBIOS_TYPES and _NETBIOS_NAME.fullmatch(name):
        return None
    bare = not answers + authorities + additions
    return _Message(name, kind, answer) if bare == (end + 4 == length) else None


def _is_name(name: str) -> bool:
    """Say whether most of a name is what host names, services and encoded data are made of."""
    plain = sum(letter.isalnum() or letter in "-_.=+/" for letter in name)
    return plain * 4 >= len(name) * 3 or len(name) > 60


def dns_tunnel(opening: Opening) -> Answer:
    """Recognise a tunnel by the questions of one flow."""
    asked = [message for message in _messages(opening) if not message.answer]
    if not asked:
        return None
    for message in asked:
        for mark in _MARKS:
            if mark in message.name + ".":
                return {"mark": mark.strip("."), "name": message.name}
        if _is_stuffed(message.name):
            return {"name": message.name, "characters": len(message.name)}
    names = sorted({message.name for message in asked})
    odd = [message.type for message in asked if message.type in _ONLY_TUNNELS_ASK and message.name.count(".") > 1]
    if len(odd) >= 2:
        return {"type": odd[0], "questions": len(asked)}
    if len(names) < _FEWEST_QUESTIONS:
        return UNDECIDED
    return _judge(names, asked)


def _is_stuffed(name: str) -> bool:
    """Say whether one name alone carries more than a host name ever does: two full labels of random-looking text."""
    full = [label for label in name.split(".") if len(label) >= _FULL_LABEL_CHARACTERS]
    return len(name) >= _STUFFED_CHARACTERS and len(full) >= 2 and entropy("".join(full).encode()) >= _RANDOM_BITS


def _judge(names: list[str], asked: list[_Message]) -> Answer:
    domain = _common_domain(names)
    if domain.count(".") < 1:
        return None
    own = [name[: -len(domain) - 1].replace(".", "") for name in names]
    long = [part for part in own if len(part) >= _LONG_CHARACTERS]
    bits = entropy("".join(long).encode("utf-8", "replace"))
    if len(long) >= _FEWEST_QUESTIONS and bits >= _RANDOM_BITS and not domain.endswith(".arpa"):
        return {"domain": domain, "questions": len(asked), "characters": max(map(len, long)), "entropy": round(bits, 2)}
    return UNDECIDED


def _common_domain(names: list[str]) -> str:
    """Return the last labels that all names share."""
    shared: list[str] = []
    for labels in zip(*(reversed(name.split(".")) for name in names), strict=False):
        if len(set(labels)) > 1:
            break
        shared.insert(0, labels[0])
    return ".".join(shared)


def iodine_raw(opening: Opening) -> Answer:
    """Recognise iodine's raw mode by its magic and command."""
    for packet in opening.packets:
        payload = packet.payload
        if payload.startswith(_RAW_MAGIC) and len(payload) > 3 and payload[3] & 0xF0 in _RAW_COMMANDS:
            return {"command": payload[3] >> 4, "user": payload[3] & 0x0F}
    return None
