"""The reader: published strategies go in and come out the same; what it refuses, it places and mends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.tools.geneva import StrategyError, parse
from testbed.tools.geneva.strategy import Drop, Duplicate, Fragment, Node, Strategy, Tamper, Tree, Trigger
from tests.tools.geneva.published import PUBLISHED


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_strategies_are_written_as_they_were_read(text: str) -> None:
    written = str(parse(text))
    assert parse(written) == parse(text)
    assert written.replace("\\/", "").strip() == text.replace("\\/", "").strip()


def test_the_readme_of_geneva() -> None:
    text = r"[TCP:flags:A]-duplicate(tamper{TCP:flags:replace:R}(tamper{TCP:chksum:corrupt},),)-| \/"
    left = Node(Tamper("TCP", "flags", "replace", "R"), Node(Tamper("TCP", "chksum", "corrupt")))
    assert parse(text) == Strategy((Tree(Trigger("TCP", "flags", "A"), Node(Duplicate(), left)),))


def test_both_forests_and_gas() -> None:
    strategy = parse(r"[TCP:flags:PA:-2]-fragment{tcp:8:True:4}-| [TCP:flags:S]-| \/ [UDP:sport:53:2]-drop-|")
    first = Tree(Trigger("TCP", "flags", "PA", -2), Node(Fragment("tcp", 8, True, 4)))
    inbound = Tree(Trigger("UDP", "sport", "53", 2), Node(Drop()))
    assert strategy == Strategy((first, Tree(Trigger("TCP", "flags", "S"), None)), (inbound,))


@pytest.mark.parametrize("text", ["", r"\/", "  \\/  ", '"\\/"'])
def test_no_strategy_at_all_is_one(text: str) -> None:
    assert parse(text) == Strategy()


def test_a_last_bar_may_be_missing_as_in_the_published_library() -> None:
    assert parse("[TCP:flags:PA]-fragment{tcp:8:True}-") == parse(r"[TCP:flags:PA]-fragment{tcp:8:True}-| \/")


WRONG = {
    "[TCP:flags:PA]-fragmnt{tcp:8:True}-|": "column 16: unknown action `fragmnt`; known: duplicate, drop, sleep",
    "[TCP:flag:PA]-drop-|": "column 2: TCP has no field `flag`; known: sport, dport, seq",
    "[QUIC:x:1]-drop-|": "column 2: unknown protocol `QUIC`; known: IP, TCP, UDP",
    "[TCP:flags]-drop-|": "column 2: a trigger has three or four parts",
    "[TCP:flags:X]-drop-|": "column 2: `X` is no value of TCP:flags; use the letters FSRPAUECN",
    "[TCP:dport:70000]-drop-|": "column 2: `70000` is no value of TCP:dport; write a number from 0 to 65535",
    "[TCP:flags:S:a]-drop-|": "column 2: the gas `a` is no whole number; write one",
    "[TCP:flags:S]-drop(drop,)-|": "column 15: nothing comes after `drop`; end the branch there",
    "[TCP:flags:S]-tamper{TCP:seq:add:1}(,drop)-|": "column 15: `tamper{TCP:seq:add:1}` has no second packet",
    "[TCP:flags:S]-tamper{TCP:seq:rplace:1}-|": "column 15: `tamper` with the wrong parts; write `tamper{",
    "[TCP:flags:S]-tamper{TCP:load:add:1}-|": "column 15: `1` can't be added to TCP:load; add a whole number",
    "[TCP:flags:S]-fragment{tcp:-2:True}-|": "column 15: `fragment` out of range",
    "[TCP:flags:S]-fragment{ip:1:True:3}-|": "column 15: `fragment` out of range",
    "[TCP:flags:S]-fragment{tcp:1:yes}-|": "column 15: `fragment` with the wrong parts",
    "[TCP:flags:S]-duplicate(drop-|": "column 29: `-` where `,` is due after the left branch; write `,`",
    "[TCP:flags:S]-sleep{soon}-|": "column 15: `sleep{soon}` is no time",
    "[TCP:flags:S]-drop-| drop": "column 22: `drop` begins no tree",
    r"\/ [TCP:flags:S]-duplicate-|": "column 18: `duplicate` can't be done to packets that come in",
    "[TCP:flags:S": "column 2: a trigger has no `]`; close it with `]`",
    "[TCP:flags:S]-duplicate(drop, drop)-|": "column 30: unknown action ``",
    "[IP:src:1.2.3]-drop-|": "column 2: `1.2.3` is no value of IP:src; write an IPv4 address",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_what_is_wrong_has_its_column_and_its_mend(text: str, message: str) -> None:
    with pytest.raises(StrategyError) as caught:
        parse(text)
    assert str(caught.value).startswith(message)


@given(st.text(alphabet="[]{}(),-|\\/:TCPflagsSAdropuplicate0123 ", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        strategy = parse(text)
    except StrategyError:
        return
    assert parse(str(strategy)) == strategy
