"""Turkmenistan in 2025: bans by volume in daily batches, /16 blocks, a whitelist, fake QUIC (facts §2)."""

from __future__ import annotations

import pytest

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from testbed.dpi.rule import Rule
from testbed.scenario.topology import GROUPS
from tests.dpi.playbook import (
    INSIDE,
    OUTSIDE,
    Playbook,
    Send,
    answer,
    between,
    client_hello,
    data,
    datagram,
    datagram_back,
    dropped,
    from_server,
    opened,
    playbook,
    query,
    request,
    reset,
    rule,
    silence,
    syn,
)
from tests.wire.quic_flows import from_aioquic

MIDNIGHT = 1_750_032_000.0  # 2025-06-16 00:00 UTC
HOUR, DAY = 3600.0, 86400.0
SERVER, WHITE, HETZNER = "198.18.176.9", "198.18.144.10", "198.18.144.9"
SMALLER = 1_000_000
"""The tests move kilobytes where the country moves gigabytes."""


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tm-2025-volume", GROUPS)


@pytest.fixture(scope="module")
def small(policy: Policy) -> Policy:
    """The same policy with limits a million times smaller."""
    return policy.model_copy(update={"rules": tuple(smaller(rule) for rule in policy.rules)})


def smaller(rule: Rule) -> Rule:
    volume = rule.match.volume
    if volume is None or volume.up_to is None:
        return rule
    less = volume.model_copy(update={"over": volume.over // SMALLER, "up_to": volume.up_to // SMALLER})
    return rule.model_copy(update={"match": rule.match.model_copy(update={"volume": less})})


def book_of(policy: Policy, hour: float = 0.0) -> Playbook:
    book = playbook(Engine(policy, seed=1))
    book.now = MIDNIGHT + hour * HOUR
    return book


def carry(book: Playbook, size: int, server: str = SERVER) -> None:
    """Let a server send so many bytes to a client that has asked it."""
    book >> between(datagram(b"hello there", 4500), server=server)
    raw = bytes(between(datagram_back(bytes(972), 4500), server=server).packet)
    for _ in range(size // 1000):
        book.engine.receive(raw, OUTSIDE, book.now)


def alive(book: Playbook, server: str = SERVER, step: Send | None = None) -> bool:
    return (book >> between(step or datagram(b"hello there", 4500), server=server)).last.verdict is Verdict.PASS


def test_the_limits_and_the_hours_are_those_reported(policy: Policy) -> None:
    volume = next(rule.match.volume for rule in policy.rules if rule.name == "volume")
    assert volume is not None
    assert (volume.over, volume.up_to) == (20 * 10**9, 150 * 10**9)
    assert volume.batches == (10 * HOUR, 12 * HOUR)


def test_below_the_limit_nothing_happens(small: Policy) -> None:
    book = book_of(small)
    carry(book, 19_000)
    book.now += 2 * DAY
    assert alive(book)


@pytest.mark.parametrize(("hour", "batch"), [(3.0, 10.0), (11.0, 12.0), (13.0, 34.0)])
def test_a_ban_waits_for_the_next_batch(small: Policy, hour: float, batch: float) -> None:
    book = book_of(small, hour)
    carry(book, 151_000)
    book.now = MIDNIGHT + batch * HOUR - 1
    assert alive(book)
    book.now = MIDNIGHT + batch * HOUR
    book >> between(datagram(b"hello there", 4500), server=SERVER) << dropped() << rule("volume")


def test_a_ban_is_of_the_address_whatever_the_protocol_and_the_client(small: Policy) -> None:
    book = book_of(small, 9)
    carry(book, 151_000)
    book.now = MIDNIGHT + 10 * HOUR
    assert not alive(book)
    assert not alive(book, SERVER, syn(22))
    book >> between(from_server("SA", 1, 1, dport=22), server=SERVER) << dropped()
    book >> between(syn(), client="100.64.1.2", server=SERVER) << dropped()
    assert alive(book, "198.18.176.10")


def test_a_ban_lasts_for_weeks(small: Policy) -> None:
    book = book_of(small, 9)
    carry(book, 151_000)
    book.now = MIDNIGHT + 10 * HOUR
    assert not alive(book)
    book.now += 20 * DAY
    assert not alive(book)


def test_each_address_has_a_limit_of_its_own_between_20_and_150(small: Policy) -> None:
    banned = dict.fromkeys((20_000, 50_000, 85_000, 120_000, 150_000), 0)
    for number in range(60):
        server = f"198.18.177.{number}"
        for size in banned:
            book = book_of(small, 9)
            carry(book, size + 2_000, server)
            book.now = MIDNIGHT + 10 * HOUR
            banned[size] += not alive(book, server)
    shares = [count / 60 for count in banned.values()]
    assert shares == sorted(shares)
    assert shares[0] < 0.1
    assert 0.3 < shares[2] < 0.7
    assert shares[-1] == 1.0


def test_volume_adds_up_over_days(small: Policy) -> None:
    """A new server that carries a share of it each day lasts two or three days."""
    book = book_of(small, 13)
    lasted = 0
    while alive(book) and lasted < 9:
        carry(book, 55_000)
        book.now += DAY
        lasted += 1
    assert 2 <= lasted <= 3


def test_datagrams_over_ipv4_and_tcp_count_alike(small: Policy) -> None:
    book = opened(book_of(small, 9), server=SERVER)
    for number in range(160):
        book >> between(from_server("A", 9001 + 960 * number, 1001, bytes(960)), server=SERVER)
    book.now = MIDNIGHT + 10 * HOUR
    assert not alive(book)


def test_flows_that_no_rule_looks_at_are_counted_too(small: Policy) -> None:
    book = book_of(small, 9)
    upload = {"client": SERVER, "server": "100.64.1.1", "from_outside": True}
    raw = bytes(between(datagram(bytes(972), 4500), **upload).packet)  # type: ignore[arg-type]
    for _ in range(160):
        book.engine.receive(raw, OUTSIDE, book.now)
    book.now = MIDNIGHT + 10 * HOUR
    assert not alive(book)


def test_whole_blocks_are_gone(policy: Policy) -> None:
    book = book_of(policy)
    book >> between(syn(), server=HETZNER) << dropped() << rule("sixteens")
    book >> between(datagram(b"x" * 20, 4500), server=HETZNER) << dropped()


def test_who_pays_for_the_whitelist_is_let_through(small: Policy) -> None:
    book = book_of(small, 9)
    book >> between(syn(), server=WHITE) << silence()
    carry(book, 151_000, WHITE)
    book.now = MIDNIGHT + 10 * HOUR
    assert alive(book, WHITE)


def initial(name: str = "any.example") -> bytes:
    return from_aioquic(name, versions=[1], alpn=["h3"])[0]


def test_unanswered_quic_gets_its_address_banned(policy: Policy) -> None:
    book = book_of(policy)
    for _ in range(9):
        book >> between(datagram(initial()), server=SERVER) << silence()
    book >> between(datagram(initial()), server=SERVER) << dropped() << rule("fake-quic")
    assert not alive(book, SERVER, syn())


def test_quic_that_is_answered_does_not(policy: Policy) -> None:
    book = book_of(policy)
    for _ in range(5):
        book >> between(datagram(initial()), server=SERVER)
    book >> between(datagram_back(initial()), server=SERVER)
    for _ in range(20):
        book >> between(datagram(initial()), server=SERVER) << silence()


def test_other_unanswered_datagrams_do_not(policy: Policy) -> None:
    book = book_of(policy)
    for _ in range(20):
        book >> between(datagram(b"\x17" * 1200), server=SERVER) << silence()


@pytest.mark.parametrize("name", ["www.msftncsi.com", "www.msftconnecttest.com", "connectivitycheck.gstatic.com"])
def test_phones_find_no_internet(policy: Policy, name: str) -> None:
    book_of(policy) >> query(name) << answer() << rule("checks-dns")
    opened(book_of(policy), 80) >> request(name) << reset(INSIDE)


def test_the_url_of_the_check_is_enough(policy: Policy) -> None:
    content = b"GET /generate_204 HTTP/1.1\r\nHost: www.gstatic.com\r\n\r\n"
    opened(book_of(policy), 80) >> data(content, 80) << reset(INSIDE)
    opened(book_of(policy), 80) >> request("www.gstatic.com") << silence()


def test_the_rest_is_as_in_2024(policy: Policy) -> None:
    before = load_policy("tm-2024-amnesty", GROUPS)
    assert policy.rule_names[-len(before.rule_names) :] == before.rule_names
    opened(book_of(policy)) >> client_hello("twitter.com") << reset(INSIDE)
