"""What people are shown of a packet: the place that matched, in letters or as DNS writes it."""

from __future__ import annotations

from testbed.wire.excerpt import excerpt, place_of

DNS = b"\0" * 40 + b"\x07twitter\x03com\0"


def test_a_name_is_found_in_letters_and_as_dns_has_it() -> None:
    assert place_of(b"GET / Host: TWITTER.com", ["*twitter.com*"]) == 12
    assert place_of(DNS, ["twitter.com"]) == 40
    assert place_of(DNS, [7, "no name", "other.example"]) == 0


def test_an_excerpt_is_around_it_or_the_beginning() -> None:
    packet = bytes(200) + b"twitter.com" + bytes(200)
    at, shown = excerpt(packet, ["twitter.com"])
    assert (at, len(shown)) == (184, 64)
    assert b"twitter.com" in shown
    assert excerpt(packet) == (0, packet[:64])
    assert excerpt(b"short", ["short.example"]) == (0, b"short")
    assert excerpt(b"") == (0, b"")
