"""Name patterns and their index."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
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


def plainly(patterns: list[str], name: str) -> str | None:
    """The definition, by one loop a form: what `NameIndex` must agree with."""
    name = name.lower()
    whole = name.removesuffix(".")
    if "=" + whole in patterns:
        return "=" + whole
    tails = [whole[start:] for start in range(len(whole)) if start == 0 or whole[start - 1] == "."]
    for tail in tails:
        if "." + tail in patterns:
            return "." + tail
    for pattern in patterns:
        if pattern[0] == "*" and pattern[1:-1] in name:
            return pattern
    for pattern in patterns:
        if pattern[0] == "/" and any(re.search(pattern[1:-1], each, re.IGNORECASE) for each in (whole, name)):
            return pattern
    return None


_TEXT = st.text("abc.-\0", min_size=1, max_size=9)
_WHOLE = _TEXT.map(lambda text: text.rstrip(".") or "a")
_PATTERNS = st.one_of(
    _WHOLE.map(lambda text: f"={text}"),
    _WHOLE.map(lambda text: f".{text}"),
    _TEXT.map(lambda text: f"*{text}*"),
    st.sampled_from(["/^a+b/", "/c$/", "/B.A/", "/a-?b\\.c/"]),
)
_NAMES = st.one_of(
    st.text("abc.-\0", max_size=40),
    st.text("aB.é\0Ж\udce9", max_size=20),
    st.lists(st.text("abc", max_size=4), max_size=120).map(".".join),
)


@settings(max_examples=400)
@given(st.lists(_PATTERNS, max_size=12), _NAMES)
def test_the_index_agrees_with_the_definition(patterns: list[str], name: str) -> None:
    assert NameIndex(patterns).find(name) == plainly(patterns, name)


@given(st.lists(_TEXT, min_size=1, max_size=6), _NAMES, _NAMES)
def test_a_part_is_found_wherever_it_stands(parts: list[str], before: str, after: str) -> None:
    index = NameIndex([f"*{part}*" for part in parts])
    for part in parts:
        assert index.find(before + part + after) is not None


def test_precedence_is_exact_suffix_substring_regex() -> None:
    patterns = ["/twitter/", "*witter*", "*twitter*", ".com", ".twitter.com", "=m.twitter.com"]
    index = NameIndex(patterns)
    assert index.find("m.twitter.com") == "=m.twitter.com"
    assert index.find("x.twitter.com") == ".twitter.com", "of suffixes the longest"
    assert index.find("twitter.net") == "*witter*", "of substrings the first written"
    assert NameIndex(patterns[:1]).find("TWITTER.net") == "/twitter/"


@pytest.mark.parametrize(
    ("pattern", "name", "hit"),
    [
        ("=t.me", "T.ME", True),
        ("=t.me", "t.me.", True),
        ("=t.me.", "t.me", True),
        (".t.me", "a..t.me", True),
        (".t.me", ".t.me", True),
        (".t.me", "t.me..", False),
        ("*t.me*", "t.me\0.allowed.example", True),
        ("=t.me", "t.me\0", False),
        (".пример.рф", "www.xn--e1afmkfd.xn--p1ai", True),
        ("=bücher.example", "xn--bcher-kva.example", True),
        ("*xn--e1afmkfd*", "www.xn--e1afmkfd.xn--p1ai", True),
        (".t.me", "a." * 40_000 + "t.me", True),
        ("*t.me*", "a." * 40_000 + "t.mex", True),
        ("*t.me*", "." * 65_535, False),
        ("*a*", "", False),
    ],
)
def test_names_as_hostile_clients_write_them(pattern: str, name: str, hit: bool) -> None:
    assert (NameIndex([pattern]).find(name) is not None) == hit


@pytest.mark.parametrize("pattern", ["*часть*", ".a\u200d..б", "=" + "ж" * 80])
def test_what_has_no_form_on_the_wire_is_refused_with_a_mend(pattern: str) -> None:
    with pytest.raises(ValueError, match="; write"):
        check_pattern(pattern)


def test_many_rules_do_not_lose_one() -> None:
    words = [f"{a}{b}{c}{d}{e}" for a, b, c, d, e in itertools.product("abcde", repeat=5)]
    index = NameIndex([f"*{word}*" for word in words])
    assert [index.find(f"x.{word}.com") for word in words] == [f"*{word}*" for word in words]
    assert len(index) == len(words)
