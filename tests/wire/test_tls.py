"""ClientHellos: captured browsers, OpenSSL, tshark's reading of them, and everything a hostile sender can do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from testbed.wire import ja, tls
from tests.wire import hellos

NAME = "www.example.com"
CHROME = hellos.captured("chrome131")
MESSAGE = CHROME[5:]
Outcome = str | None | type[ValueError]


def outcome(data: bytes, **knobs: bool) -> Outcome:
    """Return what both ways of reading say, after seeing that they agree."""
    try:
        hello = tls.client_hello(data, **knobs)
        full: Outcome = hello.sni if hello else None
    except ValueError as error:
        full = type(error)
    try:
        lean: Outcome = tls.server_name(data, **knobs)
    except ValueError as error:
        lean = type(error)
    assert lean == full
    return full


@pytest.mark.parametrize(
    ("browser", "size", "alpn", "groups", "ech", "padding"),
    [
        ("edge101", 517, ("h2", "http/1.1"), (29, 23, 24), False, 200),
        ("chrome131", 1757, ("h2", "http/1.1"), (4588, 29, 23, 24), True, 0),
        ("chrome152", 1985, ("h2", "http/1.1"), (4588, 29, 23, 24), True, 0),
        ("firefox135", 1805, ("h2", "http/1.1"), (4588, 29, 23, 24, 25, 256, 257), True, 0),
        ("safari155", 517, ("h2", "http/1.1"), (29, 23, 24, 25), False, 191),
    ],
)
def test_browsers_are_read(
    browser: str, size: int, alpn: tuple[str, ...], groups: tuple[int, ...], ech: bool, padding: int
) -> None:
    data = hellos.captured(browser)
    hello = tls.client_hello(data)
    assert hello is not None and len(data) == size
    assert (hello.sni, hello.names, hello.alpn, hello.version) == (NAME, (NAME,), alpn, 0x303)
    assert tuple(group for group in hello.groups if not ja.is_grease(group)) == groups
    assert (hello.has_ech, hello.has_esni, hello.padding_bytes, hello.resumes) == (ech, False, padding, False)
    assert (0x304 in hello.versions, hello.point_formats, len(hello.session_id)) == (True, (0,), 32)
    assert outcome(data) == NAME


def test_tshark_reads_the_same(tmp_path: Path) -> None:
    everything = [hellos.captured(name) for name in hellos.CAPTURED]
    everything += [hellos.from_openssl(NAME, ("http/1.1", "x")), hellos.from_openssl(None)]
    wrpcap(
        str(tmp_path / "hellos.pcap"),
        [Ether() / IP() / TCP(sport=40000 + i, dport=443, flags="PA") / data for i, data in enumerate(everything)],
    )
    fields = ("server_name", "alpn_str", "supported_group", "ec_point_format")
    seen = subprocess.run(
        ["tshark", "-r", str(tmp_path / "hellos.pcap"), "-T", "fields", "-e", "tls.handshake.ja3_full",
         *(word for field in fields for word in ("-e", f"tls.handshake.extensions_{field}")),
         "-e", "tls.handshake.ja3", "-e", "tls.handshake.ciphersuite", "-e", "tls.handshake.sig_hash_alg"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(seen) == len(everything)
    for line, data in zip(seen, everything, strict=True):
        hello = tls.client_hello(data)
        assert hello is not None
        hexadecimal = [",".join(f"0x{n:04x}" for n in numbers) for numbers in (hello.groups, hello.ciphers)]
        full, sni, alpn, groups, formats, hashed, ciphers, signatures = line.split("\t")
        assert (full, hashed) == (ja.ja3_text(hello), ja.ja3(hello))
        assert (sni, alpn) == (hello.sni or "", ",".join(hello.alpn))
        assert (groups, ciphers) == (hexadecimal[0], hexadecimal[1])
        assert formats == ",".join(map(str, hello.point_formats))
        # tshark shows the algorithms of delegated_credentials in the same field, where Firefox sends them too.
        assert {int(number, 16) for number in signatures.split(",")} >= set(hello.signature_algorithms)


@pytest.mark.parametrize(
    ("entries", "sni", "listed"),
    [
        ([(0, b"A.Example.COM")], "a.example.com", ("a.example.com",)),
        ([(0, b"a.example.")], "a.example", ("a.example",)),
        ([(0, b"one.example"), (0, b"two.example")], "one.example", ("one.example", "two.example")),
        ([(7, b"other kind"), (0, b"one.example")], "one.example", ("one.example",)),
        ([(7, b"other kind")], None, ()),
        ([(0, b"192.0.2.7")], "192.0.2.7", ("192.0.2.7",)),
        ([(0, b"2001:db8::7")], "2001:db8::7", ("2001:db8::7",)),
        ([(0, b"m\xfcnchen.example")], "m\xfcnchen.example", ("m\xfcnchen.example",)),
    ],
)
def test_forms_of_names(entries: list[tuple[int, bytes]], sni: str | None, listed: tuple[str, ...]) -> None:
    data = hellos.record(hellos.message([(0, hellos.names(*entries))]))
    hello = tls.client_hello(data)
    assert hello is not None and (hello.sni, hello.names) == (sni, listed)
    assert outcome(data) == sni


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x03FF])
def test_the_version_of_the_record_does_not_matter(version: int) -> None:
    assert outcome(hellos.records(MESSAGE, [700], version=version), join_records=True) == NAME


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (b"\x16", tls.NeedMore),
        (b"", tls.NeedMore),
        (b"\x16\x02", None),
        (hellos.record(b"\x02" + MESSAGE[1:]), None),
        (hellos.record(hellos.message(None)), None),
        (hellos.record(hellos.message([])), None),
        (hellos.record(hellos.message([(0, b"")])), None),
        (hellos.record(hellos.message([(0, b"\0\x09\0\0\6a.c")])), ValueError),
        (hellos.record(hellos.message([(0, hellos.names((0, b"a.example"))), (16, b"\0\x50\2h2")])), "a.example"),
        (hellos.record(hellos.message([(0, hellos.names((0, b"a.example")))])[:-1]), ValueError),
        (hellos.record(hellos.message([(0, hellos.names((0, b"a.example")))]))[:-1], tls.NeedMore),
        (hellos.record(b"\1\xff\xff\xff" + bytes(16000)), ValueError),
        (b"\x16\x03\x01\xff\xff" + bytes(70), ValueError),
        (hellos.records(MESSAGE, [10]), ValueError),
        (hellos.records(MESSAGE, [10])[:60], ValueError),
        (hellos.record(b"\2\x28", 21) + CHROME, None),
    ],
)
def test_what_is_no_hello(data: bytes, expected: Outcome) -> None:
    assert outcome(data) == expected


def test_other_records_are_stepped_over_when_asked() -> None:
    warning, change = hellos.record(b"\1\0", 21), hellos.record(b"\1", 20)
    split = hellos.records(MESSAGE, [100])
    assert outcome(warning + change + CHROME, skip_other_records=True) == NAME
    assert outcome(split[:105] + change + split[105:], join_records=True, skip_other_records=True) == NAME
    assert outcome(split[:105] + change + split[105:], join_records=True) is ValueError


@given(st.lists(st.integers(1, len(MESSAGE) - 1)), st.binary(max_size=40))
def test_records_may_be_cut_anywhere(cuts: list[int], junk: bytes) -> None:
    data = hellos.records(MESSAGE, cuts)
    assert outcome(data + junk, join_records=True) == NAME
    assert tls.client_hello(data + junk, join_records=True) == tls.client_hello(CHROME)
    assert outcome(data + junk) == (ValueError if len(data) > len(CHROME) else NAME)


def test_records_of_one_byte() -> None:
    assert outcome(hellos.records(MESSAGE, range(len(MESSAGE))), join_records=True) == NAME


@given(st.sampled_from(hellos.CAPTURED), st.lists(st.integers(1, 500), max_size=4), st.integers(0, 3000))
def test_a_beginning_needs_more_and_nothing_else(browser: str, cuts: list[int], size: int) -> None:
    data = hellos.records(hellos.captured(browser)[5:], cuts)
    assert outcome(data[:size], join_records=True) == (NAME if size >= len(data) else tls.NeedMore)
    assert tls.sni_of_beginning(data[:size]) in (None, NAME)


def test_byte_by_byte_is_the_same_as_whole() -> None:
    data = hellos.records(hellos.captured("edge101")[5:], [7, 50, 51, 300])
    seen = [outcome(data[:size], join_records=True) for size in range(len(data) + 1)]
    assert seen == [tls.NeedMore] * len(data) + [NAME]


def test_the_name_in_the_first_packet_of_a_large_hello() -> None:
    data = hellos.record(hellos.message([(16, b"\0\3\2h2"), (0, hellos.names((0, b"a.example"))), (51, bytes(1500))]))
    end = data.index(b"a.example") + len(b"a.example")
    assert tls.sni_of_beginning(data[:end]) == "a.example"
    assert tls.sni_of_beginning(data[: end - 1]) is None
    assert outcome(data[:end]) is tls.NeedMore


@given(st.sampled_from(hellos.CAPTURED), st.data())
def test_damage_raises_nothing_but_value_errors(browser: str, data: st.DataObject) -> None:
    damaged = bytearray(hellos.captured(browser))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for knobs in ({}, {"join_records": True}, {"join_records": True, "skip_other_records": True}):
        outcome(bytes(damaged[:cut]), **knobs)
    tls.sni_of_beginning(bytes(damaged[:cut]))


@given(st.binary(max_size=80))
def test_noise_raises_nothing_but_value_errors(noise: bytes) -> None:
    for data in (noise, b"\x16\x03\x01" + noise, hellos.record(b"\1\0\0" + noise)):
        outcome(data, join_records=True, skip_other_records=True)
        outcome(data)


def test_views_are_read_like_bytes() -> None:
    view = memoryview(b"xx" + CHROME)[2:]
    assert tls.client_hello(view) == tls.client_hello(CHROME)
    assert tls.server_name(view) == NAME
    assert tls.parse_hello(MESSAGE) == tls.client_hello(CHROME)


def test_esni_and_tickets_are_told() -> None:
    plain = tls.parse_hello(hellos.message([(0xFFCE, b"x"), (35, b"")]))
    assert (plain.has_esni, plain.has_ech, plain.resumes) == (True, False, False)
    assert tls.parse_hello(hellos.message([(35, b"ticket")])).resumes
    assert tls.parse_hello(hellos.message([(41, b"\0\0\0\0")])).resumes
