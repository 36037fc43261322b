"""Name patterns and their index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.dpi.names import NameIndex, check_pattern, read_list


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("=a.com", ["a.com"], ["x.a.com", "a.com.x"]),
        (".a.com", ["a.com", "x.y.a.com"], ["xa.com", "a.com.x"]),
        ("*twitter.com*", ["twitter.com", "xtwitter.com", "twitter.com.x"], ["twitter.org"]),
        ("*vk*", ["vk.com", "avkb.net"], ["v.k"]),
        ("/^t[0-9]+\\.me$/", ["t12.me"], ["t.me", "xt12.me"]),
    ],
)
def test_pattern_forms(pattern: str, hits: list[str], misses: list[str]) -> None:
    index = NameIndex([pattern])
    assert [index.find(name) for name in hits] == [pattern] * len(hits)
    assert [index.find(name) for name in misses] == [None] * len(misses)


@pytest.mark.parametrize("pattern", ["", "a.com", "*", "**", "a*b", "/(/"])
def test_wrong_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        check_pattern(pattern)


def test_list_files_keep_line_numbers() -> None:
    assert read_list(["# comment", "", ".a.com  # why", "*b*"]) == [(3, ".a.com"), (4, "*b*")]


@given(st.lists(st.text("ab.", min_size=1, max_size=7), min_size=1, max_size=8), st.text("ab.", max_size=20))
def test_substrings_agree_with_plain_search(parts: list[str], name: str) -> None:
    found = NameIndex([f"*{part}*" for part in parts]).find(name)
    assert (found is not None) == any(part in name for part in parts)
