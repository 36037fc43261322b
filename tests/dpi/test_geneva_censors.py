"""Geneva's mock censors as policies: what they do once they have read the word, and who fools them."""

from __future__ import annotations

import pytest
from scapy.layers.inet import TCP

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from tests.dpi.conversation import is_censored
from tests.dpi.one_rule import injected, sides
from tests.dpi.playbook import (
    INSIDE,
    ISN,
    OUTSIDE,
    PEER_ISN,
    SERVER,
    SPORT,
    Playbook,
    between,
    data,
    datagram,
    dropped,
    from_server,
    opened,
    playbook,
    silence,
    syn,
    wait,
)
from tests.dpi.test_evasions import EXPECTED, STRATEGIES

WORD = b"GET /?q=ultrasurf HTTP/1.1\r\n\r\n"
DROPPING, RESETTING, FLAGGING = (1, 4, 6, 7, 8, 9), (2, 3, 5), ("8b", 10, 11)
EVERY = (*DROPPING, *RESETTING, *FLAGGING)
OTHER_SERVER, OTHER_CLIENT = "198.19.9.9", "100.64.1.9"


def book_of(number: object, seed: int = 1) -> Playbook:
    return playbook(Engine(load_policy(f"geneva-{number}"), seed=seed))


@pytest.mark.parametrize("number", EVERY)
@pytest.mark.parametrize("content", [b"GET /?q=ultrasur HTTP/1.1\r\n\r\n", b"GET /?q=UltraSurf HTTP/1.1\r\n\r\n"])
def test_other_words_pass(number: object, content: bytes) -> None:
    opened(book_of(number), 80) >> data(content, 80) << silence()


@pytest.mark.parametrize("number", DROPPING)
def test_the_word_is_dropped_and_so_is_all_its_sender_sends(number: int) -> None:
    book = opened(book_of(number), 80) >> data(WORD, 80) << dropped()
    book >> wait(86400) >> between(syn(), server=OTHER_SERVER, sport=SPORT + 1) << dropped()
    book >> between(datagram(b"x"), server=OTHER_SERVER) << dropped()
    book >> from_server("A", PEER_ISN + 1, ISN + 1, dport=80) << silence()
    book >> between(syn(), client=OTHER_CLIENT) << silence()


@pytest.mark.parametrize("number", [6, 7])
def test_a_server_that_says_the_word_is_dropped(number: int) -> None:
    book = opened(book_of(number), 80) >> from_server("PA", PEER_ISN + 1, ISN + 1, WORD, 80) << dropped()
    book >> between(from_server("A", 1, 1), client=OTHER_CLIENT) << dropped()
    book >> data(b"more", 80) << silence()


@pytest.mark.parametrize(("number", "inside", "outside"), [(2, 5, 0), (3, 5, 5), (5, 0, 5)])
def test_five_resets_go_to_the_client_to_both_or_to_the_server(number: int, inside: int, outside: int) -> None:
    book = opened(book_of(number), 80) >> data(WORD, 80)
    assert book.last.verdict is Verdict.PASS
    assert (sides(book.last).count(INSIDE), sides(book.last).count(OUTSIDE)) == (inside, outside)
    for packet, side in zip(injected(book.last), sides(book.last), strict=True):
        assert (str(packet[TCP].flags), packet[TCP].window) == ("R", 8192)
        assert packet[TCP].seq == (PEER_ISN + 1 if side is INSIDE else ISN + 1 + len(WORD))
    book >> data(b"more", 80, len(WORD)) << silence()


@pytest.mark.parametrize("number", FLAGGING)
def test_both_addresses_are_flagged_and_each_packet_they_send_draws_resets(number: object) -> None:
    book = opened(book_of(number), 80) >> data(WORD, 80)
    assert (sides(book.last).count(INSIDE), sides(book.last).count(OUTSIDE)) == (5, 5)
    for step in (
        between(syn(22), server=OTHER_SERVER), between(from_server("SA", 1, 1), client=OTHER_CLIENT),
        between(data(b"x", 443), server=OTHER_SERVER),
    ):  # fmt: skip
        assert len((book >> wait(3600) >> step).last.injections) == 10
    book >> between(syn(), client=OTHER_CLIENT, server=SERVER) << silence()
    book >> between(syn(), client=OTHER_CLIENT, server=OTHER_SERVER) << silence()


@pytest.mark.parametrize("number", EVERY)
def test_the_same_strategies_evade_as_with_its_preset_alone(number: object) -> None:
    policy = load_policy(f"geneva-{number}")
    got = {name: is_censored(policy, strategy) for name, strategy in STRATEGIES.items()}
    assert got == {name: seen for name, preset, seen in EXPECTED if preset == policy.policy}
