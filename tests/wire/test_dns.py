"""DNS messages against dnspython (what it can read we read alike) and dnslib, and against hostile ones."""

from __future__ import annotations

import struct
import time

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from dnslib import QTYPE, RR, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from testbed.wire import dns as ours

label = st.text("abcxyzABCXYZ0123456789-_", min_size=1, max_size=12)
name = st.lists(label, min_size=1, max_size=6).map(".".join)
qtype = st.sampled_from(["A", "AAAA", "TXT", "HTTPS", "ANY", "PTR", "MX"])


@given(name, qtype, st.integers(0, 65535), st.booleans(), st.integers(512, 65535), st.booleans())
def test_a_query_as_dnspython_makes_it(text: str, kind: str, ident: int, edns: bool, size: int, dnssec: bool) -> None:
    options = [dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"cookie!!")]
    extra = {"use_edns": 0, "payload": size, "want_dnssec": dnssec, "options": options} if edns else {}
    message = dns.message.make_query(text, kind, id=ident, **extra)  # type: ignore[arg-type]
    raw = message.to_wire()
    query = ours.parse_query(raw)
    assert (query.id, query.flags, query.counts) == (ident, int(message.flags), (1, 0, 0, int(edns)))
    assert (query.qname, query.written) == (text.lower(), text)
    assert (query.qtype, query.qclass, query.is_response) == (dns.rdatatype.from_text(kind), 1, False)
    whole = ours.parse(raw)
    assert whole.questions == ((text, query.qtype, 1),) and whole.answers == ()
    found = whole.edns
    assert (found is not None) == edns
    if found is not None:
        assert (found.udp_bytes, found.version, found.dnssec_ok) == (size, 0, dnssec)
        assert found.options == ((10, b"cookie!!"),)
    assert raw[12 : query.question_end] == raw[12:][: len(text) + 6]


ANSWERS = [
    ("A", "198.18.0.7"), ("AAAA", "2001:db8::7"), ("CNAME", "Other.example."), ("NS", "ns.example."),
    ("PTR", "host.example."), ("MX", "10 mail.example."), ("SRV", "1 2 443 srv.example."), ("TXT", '"some text"'),
    ("HTTPS", "1 svc.example. alpn=h3"), ("SOA", "a.example. b.example. 1 2 3 4 5"),
]  # fmt: skip


@given(name, st.lists(st.sampled_from(ANSWERS), max_size=6), st.integers(0, 2), st.integers(0, 1 << 31))
def test_answers_as_dnspython_makes_them(text: str, chosen: list[tuple[str, str]], where: int, ttl: int) -> None:
    query = dns.message.make_query(text, "A")
    message = dns.message.make_response(query)
    sections = (message.answer, message.authority, message.additional)
    for kind, data in dict(chosen).items():
        sections[where].append(dns.rrset.from_text(text + ".", ttl, "IN", kind, data))
    found = ours.parse(message.to_wire())
    assert found.is_response and found.rcode == 0 and found.opcode == 0
    records = (found.answers, found.authorities, found.additionals)
    assert [len(section) for section in records] == [len(section) for section in sections]
    for record, rrset in zip(records[where], sections[where], strict=True):
        assert (record.name, record.ttl, record.rclass) == (text, ttl, 1)
        assert record.rtype == rrset.rdtype
        data = dict(chosen)[dns.rdatatype.to_text(rrset.rdtype)]
        inner = found.name_in(record)
        assert inner is None or f"{inner}." in data.split()
        assert (inner is None) == (rrset.rdtype in (1, 28, 16, 6))
    if where == 0:
        assert found.addresses() == [data for kind, data in dict(chosen).items() if kind in ("A", "AAAA")]


def test_header_bits() -> None:
    message = dns.message.make_response(dns.message.make_query("a.example", "A"))
    message.flags |= dns.flags.TC
    message.set_rcode(3)  # type: ignore[arg-type]
    found = ours.parse(message.to_wire())
    assert (found.is_truncated, found.rcode) == (True, ours.NXDOMAIN)


def test_several_questions_as_dnslib_writes_them() -> None:
    record = DNSRecord(
        DNSHeader(id=9), questions=[DNSQuestion("a.example", QTYPE.A), DNSQuestion("b.example", QTYPE.TXT)]
    )
    record.add_answer(*RR.fromZone("a.example 60 A 198.18.0.1"))
    raw = record.pack()
    found = ours.parse(raw)
    assert found.questions == (("a.example", 1, 1), ("b.example", 16, 1))
    assert found.addresses() == ["198.18.0.1"]
    assert ours.parse_query(raw).qname == "a.example"
    half = ours.parse(raw[:33])
    assert len(half.questions) == 1
    with pytest.raises(ValueError, match="cut short"):
        _ = half.answers


def raw_query(counts: tuple[int, int, int, int], rest: bytes) -> bytes:
    return struct.pack("!HHHHHH", 1, 0x100, *counts) + rest


@pytest.mark.parametrize("section", range(4))
def test_each_count_is_held_to_the_limit(section: int) -> None:
    for number, fine in ((25, True), (26, False)):
        counts = [1, 0, 0, 0]
        counts[section] = number
        raw = raw_query((counts[0], counts[1], counts[2], counts[3]), b"\1a\0\0\1\0\1")
        for read in (ours.parse_query, ours.parse):
            if fine:
                read(raw, 25)
            else:
                with pytest.raises(ValueError, match="count above 25"):
                    read(raw, 25)


LOOPS = {
    "itself": b"\xc0\x0c", "forward": b"\xc0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "two": b"\1a\xc0\x0c",
    "reserved-type": b"\x80\0\0\0\0", "another": b"\x41a\0\0\0\0",
    "too-long": b"\x3f" * 4 + (b"\x3f" + b"a" * 63) * 5 + b"\0",
    "cut": b"\x05abc\0", "endless-ones": b"\1a" * 200,
}  # fmt: skip


@pytest.mark.parametrize("rest", LOOPS.values(), ids=LOOPS)
def test_names_that_lead_nowhere(rest: bytes) -> None:
    raw = raw_query((1, 0, 0, 0), rest + b"\0\1\0\1")
    with pytest.raises(ValueError):
        ours.parse_query(raw)
    with pytest.raises(dns.exception.DNSException):
        dns.message.from_wire(raw)


def test_pointers_back_are_followed() -> None:
    raw = bytes(12) + b"\3WWW\7example\0" + b"\1x\xc0\x10" + b"\xc0\x19"
    assert ours.read_name(raw, 25) == ("x.example", 29)
    assert ours.read_name(memoryview(raw), 29) == ("x.example", 31)
    assert ours.read_name(raw, 12) == ("www.example", 25)


@given(name, st.lists(st.sampled_from(ANSWERS), max_size=4), st.lists(st.tuples(st.integers(), st.integers(0, 255))))
def test_what_dnspython_can_read_is_read_alike(
    text: str, chosen: list[tuple[str, str]], changes: list[tuple[int, int]]
) -> None:
    """Change bytes of a message anywhere: only `ValueError` escapes, and wherever dnspython succeeds, we agree."""
    message = dns.message.make_response(dns.message.make_query(text, "A", use_edns=0))
    message.answer = [dns.rrset.from_text(text + ".", 60, "IN", kind, data) for kind, data in dict(chosen).items()]
    raw = bytearray(message.to_wire())
    for at, value in changes:
        raw[at % len(raw)] = value
    try:
        theirs = dns.message.from_wire(bytes(raw), one_rr_per_rrset=True, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, NotImplementedError):
        theirs = None
    try:
        found = ours.parse(bytes(raw))
        records = found.answers
    except ValueError:
        assert theirs is None or theirs.opcode() != 0
        return
    if theirs is not None and theirs.opcode() == 0:
        assert [as_text(rrset.name) for rrset in theirs.question] == [question.name for question in found.questions]
        assert [(as_text(rrset.name), rrset.rdtype) for rrset in theirs.answer] == [
            (record.name, record.rtype) for record in records if record.rtype != ours.OPT
        ]


def as_text(found: dns.name.Name) -> str:
    return b".".join(found.labels[:-1]).decode("latin-1")


@given(st.binary(max_size=120))
def test_only_value_error_escapes(data: bytes) -> None:
    for read in (ours.parse_query, ours.parse):
        try:
            found = read(data)
            if isinstance(found, ours.Message):
                _ = found.edns, found.addresses(), [found.name_in(record) for record in found.answers]
        except ValueError:
            pass


def test_a_message_of_pointers_takes_no_time() -> None:
    longest = b"\1a" * 126 + b"\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\0"
    raw = raw_query((0, 5000, 0, 0), longest + record * 5000)
    message = ours.parse(raw)
    message.questions_end = 12 + len(longest)
    begun = time.process_time()
    assert len(message.answers) == 5000
    assert time.process_time() - begun < 0.5


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(0, 50))
def test_a_stream_cut_anywhere(messages: list[bytes], cut: int) -> None:
    stream = b"".join(struct.pack("!H", len(message)) + message for message in messages)
    assert ours.split_stream(stream) == (messages, len(stream))
    first, second = stream[:cut], stream[cut:]
    found, offset = ours.split_stream(first)
    more, rest = ours.split_stream(memoryview(first[offset:] + second))
    assert found + more == messages and rest == len(first[offset:] + second)
