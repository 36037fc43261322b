"""Streams put together from segments in any order, against a byte map that a child could check."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.dpi.stream import Stream

SEGMENTS = st.lists(st.tuples(st.integers(-20, 60), st.binary(min_size=1, max_size=20)), max_size=20)


def naive(base: int, segments: list[tuple[int, bytes]], *, last_wins: bool, longest: int) -> bytes:
    known: dict[int, int] = {}
    for at, payload in segments:
        for index, byte in enumerate(payload, at):
            if 0 <= index < longest and (last_wins or index not in known):
                known[index] = byte
    end = next(index for index in range(longest + 1) if index not in known)
    return bytes(known[index] for index in range(end))


@pytest.mark.parametrize("mode", ["first-wins", "last-wins"])
@given(segments=SEGMENTS, base=st.sampled_from([0, 1000, 2**32 - 10]))
def test_any_order_gives_what_a_byte_map_gives(mode: str, segments: list[tuple[int, bytes]], base: int) -> None:
    stream = Stream(base, 50)
    content = b""
    for at, payload in segments:
        content = stream.add((base + at) % 2**32, payload, mode)
    assert content == naive(base, segments, last_wins=mode == "last-wins", longest=50)
    assert stream.next_seq == (base + len(content)) % 2**32


def test_in_order_takes_nothing_ahead() -> None:
    stream = Stream(100, 1000)
    assert stream.add(105, b"later", "in-order") == b""
    assert stream.add(100, b"first", "in-order") == b"first"
    assert stream.add(105, b"later", "in-order") == b"firstlater"
    assert stream.add(105, b"again", "in-order") == b"firstlater"


@given(segments=SEGMENTS, base=st.sampled_from([0, 2**32 - 10]))
def test_either_keeps_the_first_copies_and_the_last(segments: list[tuple[int, bytes]], base: int) -> None:
    stream = Stream(base, 50)
    content = b""
    for at, payload in segments:
        content = stream.add((base + at) % 2**32, payload, "either")
    first, last = (naive(base, segments, last_wins=last_wins, longest=50) for last_wins in (False, True))
    assert content == first
    assert stream.second_content in (last, None)
    assert stream.second_content is not None or first == last
