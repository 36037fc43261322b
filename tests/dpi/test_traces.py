"""A question that is ruled out unread asks for none of the names, whatever its bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.dpi.names import NameIndex
from testbed.dpi.traces import Traces
from testbed.wire import dns

LIST = ["=vk.com", ".twitter.com", "*facebook*", "*.google.co*", "*t.co.uk*"]
_HEADER = struct.pack("!6H", 0x6162, 0x0100, 1, 0, 0, 0)
_letters = st.text("ab", min_size=1, max_size=3)
_names = st.lists(_letters, min_size=1, max_size=4).map(".".join)
_parts = st.text("ab.", min_size=4, max_size=9).map("*{}*".format)
_patterns = st.lists(
    st.one_of(_names.map("=".__add__), _names.map(".".__add__), _parts), min_size=1, max_size=3
)  # fmt: skip
_labels = st.one_of(
    st.text("abAB", min_size=1, max_size=5).map(str.encode), st.just(b"a.b"), st.just(b"b.a.ab"), st.just(b"\xe4b"),
    st.just(b"a\0b"),
)  # fmt: skip
_ends = st.one_of(st.just(b"\0"), st.integers(0, 40).map(lambda back: struct.pack("!H", 0xC000 | back)))


def _message(labels: list[bytes], end: bytes = b"\0", header: bytes = _HEADER) -> bytes:
    return header + b"".join(bytes([len(label)]) + label for label in labels) + end + b"\0\1\0\1"


def _question(name: str, header: bytes = _HEADER) -> bytes:
    return _message([label.encode() for label in name.split(".")], header=header)


@pytest.mark.parametrize(
    "name", ["vk.com", "VK.com", "twitter.com", "api.Twitter.COM", "myfacebook.org", "www.google.com", "ict.co.uk"]
)
def test_what_a_list_hits_is_never_ruled_out(name: str) -> None:
    index = NameIndex(LIST)
    assert index.find(name)
    assert not Traces([index]).rule_out(_question(name)[2:])


@pytest.mark.parametrize("name", ["example.org", "a.vk.co", "weather.example", "uk.co.t"])
def test_other_names_are_ruled_out_unread(name: str) -> None:
    assert Traces([NameIndex(LIST)]).rule_out(_question(name)[2:])


@pytest.mark.parametrize("pattern", ["/tw.tter/", "*vk*", "*.tm*"])
def test_a_pattern_without_a_word_of_its_own_leaves_every_question_to_be_read(pattern: str) -> None:
    assert not Traces([NameIndex([*LIST, pattern])]).rule_out(_question("example.org")[2:])


def test_without_names_every_question_is_read() -> None:
    assert not Traces([]).rule_out(_question("example.org")[2:])


@pytest.mark.parametrize("labels", [[b"vk.com"], [b"api.twitter", b"com"]])
def test_a_label_that_reads_like_two_is_read(labels: list[bytes]) -> None:
    index = NameIndex(LIST)
    message = _message(labels)
    assert index.find(dns.parse_query(message).qname)
    assert not Traces([index]).rule_out(message[2:])


@given(_patterns, st.lists(_labels, max_size=5), _ends, st.binary(max_size=12))
def test_it_agrees_with_reading(patterns: list[str], labels: list[bytes], end: bytes, behind: bytes) -> None:
    index = NameIndex(patterns)
    message = _message(labels, end) + behind
    try:
        asked = dns.parse_query(message).qname
    except ValueError:
        return
    if Traces([index]).rule_out(message[2:]):
        assert index.find(asked) is None


def test_a_name_of_which_a_pointer_leads_to_the_rest_is_read() -> None:
    """RFC 1035 §4.1.4; what the header holds here, `com`, a lenient reader takes for labels as well."""
    index = NameIndex(["=vk.com"])
    message = _message([b"vk"], end=b"\xc0\2", header=b"ab\3com\0\0\0\0\0\0")
    assert index.find(dns.parse_query(message).qname)
    assert not Traces([index]).rule_out(message[2:])


@pytest.mark.parametrize("pattern", ["*a..b*", f"*a.{'b' * 300}.c*", f"={'b' * 64}.com"])
def test_a_pattern_that_no_question_can_hold_costs_nothing(pattern: str) -> None:
    assert Traces([NameIndex([*LIST, pattern])]).rule_out(_question("example.org")[2:])
