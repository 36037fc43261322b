"""DNS messages (RFC 1035, EDNS of RFC 6891), over UDP or cut out of a TCP stream.

`parse_query` is the short way to what a censor looks at, the first question. `parse` reads a message's header and
questions and walks its records when somebody asks.

A parser limit is part of the measured behaviour: the Turkmen censor ignores a query with a section count above 25
(facts §1, Nourin et al. 2023), so the limit is an argument, not a constant.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT, SVCB, HTTPS, ANY = 1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 64, 65, 255
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
_header = struct.Struct("!HHHHHH").unpack_from
_pair = struct.Struct("!HH").unpack_from
_record = struct.Struct("!HHIH").unpack_from
_MOST_LABELS = 128
_LONGEST_NAME_BYTES = 255
#: types whose data begins with a name, and how many bytes before it
_NAME_AT = {NS: 0, CNAME: 0, PTR: 0, 39: 0, MX: 2, SRV: 6, SVCB: 2, HTTPS: 2}
_new = tuple.__new__


class Query(NamedTuple):
    """The first question. `qname` in lower case without the last dot; `question_end` is the offset behind it.

    `written` is the name as it stands there, since its case may carry entropy (draft-vixie-dnsext-dns0x20).
    """

    id: int
    flags: int
    counts: tuple[int, int, int, int]
    qname: str
    qtype: int
    qclass: int
    question_end: int
    written: str = ""

    @property
    def is_response(self) -> bool:
        """Say whether the message is an answer."""
        return bool(self.flags & 0x8000)


class Question(NamedTuple):
    """One question, its name as written."""

    name: str
    qtype: int
    qclass: int


class Record(NamedTuple):
    """A resource record, its name as written. `data_offset` is where its data stands in the message."""

    name: str
    rtype: int
    rclass: int
    ttl: int
    data: bytes
    data_offset: int


@dataclass(frozen=True, slots=True)
class Edns:
    """What an OPT record says (RFC 6891 §6.1)."""

    udp_bytes: int
    extended_rcode: int
    version: int
    dnssec_ok: bool
    options: tuple[tuple[int, bytes], ...]


@dataclass(slots=True)
class Message:
    """A message; sections other than the questions are walked when asked for, and `ValueError` tells if one is broken.

    `questions` are those that could be read: fewer than the header counts if the message ends early.
    """

    raw: bytes
    id: int
    flags: int
    counts: tuple[int, int, int, int]
    questions: tuple[Question, ...]
    questions_end: int
    _sections: tuple[tuple[Record, ...], ...] | None = field(default=None, repr=False)

    @property
    def is_response(self) -> bool:
        """Say whether this is an answer."""
        return bool(self.flags & 0x8000)

    @property
    def is_truncated(self) -> bool:
        """Say whether the sender left something out and asks for TCP (TC)."""
        return bool(self.flags & 0x0200)

    @property
    def opcode(self) -> int:
        """0 is a standard query."""
        return self.flags >> 11 & 15

    @property
    def rcode(self) -> int:
        """The answer's code, without EDNS's upper bits."""
        return self.flags & 15

    @property
    def answers(self) -> tuple[Record, ...]:
        """The answer section."""
        return self._walked()[0]

    @property
    def authorities(self) -> tuple[Record, ...]:
        """The authority section."""
        return self._walked()[1]

    @property
    def additionals(self) -> tuple[Record, ...]:
        """The additional section, OPT included."""
        return self._walked()[2]

    @property
    def edns(self) -> Edns | None:
        """What the first OPT record says, None without one."""
        found = next((record for record in self.additionals if record.rtype == OPT), None)
        if found is None:
            return None
        bits = found.ttl
        options = tuple(_edns_options(found.data))
        return Edns(found.rclass, bits >> 24, bits >> 16 & 0xFF, bool(bits & 0x8000), options)

    def name_in(self, record: Record) -> str | None:
        """Return the name that a record's data holds (CNAME, NS, PTR, MX, SRV, HTTPS, …), decompressed."""
        before = _NAME_AT.get(record.rtype)
        return None if before is None else _name(self.raw, record.data_offset + before)[0]

    def addresses(self) -> list[str]:
        """Return the addresses of all A and AAAA answers, as text."""
        return [
            str(ipaddress.ip_address(record.data))
            for record in self.answers
            if (record.rtype, len(record.data)) in ((A, 4), (AAAA, 16))
        ]

    def _walked(self) -> tuple[tuple[Record, ...], ...]:
        if self._sections is None:
            if len(self.questions) < self.counts[0]:
                raise ValueError("a DNS question cut short")
            offset, sections = self.questions_end, []
            names: dict[int, tuple[str, int]] = {}
            for count in self.counts[1:]:
                found = []
                for _ in range(count):
                    record, offset = _read_record(self.raw, offset, names)
                    found.append(record)
                sections.append(tuple(found))
            self._sections = tuple(sections)
        return self._sections


def parse_query(data: memoryview | bytes, max_count: int = 65535) -> Query:
    """Read a message's first question; `ValueError` if there is none, or a section count exceeds `max_count`."""
    raw = data if type(data) is bytes else bytes(data)
    if len(raw) < 17:
        raise ValueError("a DNS message cut short")
    ident, flags, *counts = _header(raw)
    if counts[0] == 0:
        raise ValueError("a DNS message without a question")
    if max_count < 65535 and max(counts) > max_count:
        raise ValueError(f"a DNS section count above {max_count}")
    written, offset = _name(raw, 12)
    if offset + 4 > len(raw):
        raise ValueError("a DNS question cut short")
    qtype, qclass = _pair(raw, offset)
    return _new(Query, (ident, flags, tuple(counts), written.lower(), qtype, qclass, offset + 4, written))


def parse(data: memoryview | bytes, max_count: int = 65535) -> Message:
    """Read a message's header and questions; `ValueError` if its header is cut short or a count exceeds `max_count`."""
    raw = bytes(data)
    if len(raw) < 12:
        raise ValueError("a DNS message cut short")
    ident, flags, *counts = _header(raw)
    if max(counts) > max_count:
        raise ValueError(f"a DNS section count above {max_count}")
    questions, offset = [], 12
    try:
        for _ in range(counts[0]):
            name, after = _name(raw, offset)
            if after + 4 > len(raw):
                break
            questions.append(Question(name, *_pair(raw, after)))
            offset = after + 4
    except ValueError:
        pass
    found = (counts[0], counts[1], counts[2], counts[3])
    return Message(raw, ident, flags, found, tuple(questions), offset)


def split_stream(stream: memoryview | bytes) -> tuple[list[bytes], int]:
    """Cut the whole messages out of a TCP stream (RFC 1035 §4.2.2); return them and the offset of what is left."""
    raw, found, offset = bytes(stream), list[bytes](), 0
    while offset + 2 <= len(raw):
        end = offset + 2 + int.from_bytes(raw[offset : offset + 2], "big")
        if end > len(raw):
            break
        found.append(raw[offset + 2 : end])
        offset = end
    return found, offset


def read_name(data: memoryview | bytes, offset: int) -> tuple[str, int]:
    """Read a name in lower case, following compression pointers backwards only; return it and the offset behind it."""
    name, after = _name(data if type(data) is bytes else bytes(data), offset)
    return name.lower(), after


def _name(raw: bytes, offset: int) -> tuple[str, int]:
    """Read a name as it is written."""
    labels: list[bytes] = []
    after, limit, size, written = 0, offset, len(raw), 0
    for _ in range(_MOST_LABELS):
        if offset >= size:
            break
        length = raw[offset]
        if length == 0:
            return b".".join(labels).decode("latin-1"), after or offset + 1
        if length <= 63:
            end = offset + 1 + length
            written += 1 + length
            if end > size or written >= _LONGEST_NAME_BYTES:
                break
            labels.append(raw[offset + 1 : end])
            offset = end
        elif length >= 0xC0 and offset + 2 <= size:
            after = after or offset + 2
            offset = (length & 0x3F) << 8 | raw[offset + 1]
            if offset >= limit:
                raise ValueError("a DNS pointer that does not point back")
            limit = offset
        else:
            raise ValueError("a DNS label of an unknown type")
    raise ValueError("a DNS name that is cut short, or too long")


def _read_record(raw: bytes, offset: int, names: dict[int, tuple[str, int]]) -> tuple[Record, int]:
    """Read a record; `names` remembers those pointed to, so that a message of pointers takes linear time."""
    target = int.from_bytes(raw[offset : offset + 2], "big")
    if target >= 0xC000 and len(raw) >= offset + 2:
        target &= 0x3FFF
        if target >= offset:
            raise ValueError("a DNS pointer that does not point back")
        if target not in names:
            names[target] = _name(raw, target)
        name, after = names[target][0], offset + 2
    else:
        name, after = _name(raw, offset)
    if after + 10 > len(raw):
        raise ValueError("a DNS record cut short")
    rtype, rclass, ttl, length = _record(raw, after)
    begin = after + 10
    if begin + length > len(raw):
        raise ValueError("a DNS record cut short")
    return _new(Record, (name, rtype, rclass, ttl, raw[begin : begin + length], begin)), begin + length


def _edns_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        code, length = _pair(data, offset)
        yield code, data[offset + 4 : offset + 4 + length]
        offset += 4 + length
