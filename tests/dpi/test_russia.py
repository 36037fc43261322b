"""Russia: Twitter slowed, QUIC dropped by size, TLS to foreign data centres frozen (facts/censors.md)."""

from __future__ import annotations

import pytest

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.playbook import (
    INSIDE,
    ISN,
    OUTSIDE,
    PEER_ISN,
    Playbook,
    between,
    client_hello,
    data,
    datagram,
    dropped,
    from_server,
    hello_bytes,
    opened,
    playbook,
    request,
    rule,
    silence,
)
from tests.wire.quic_flows import crypto, initial

HETZNER, ELSEWHERE = "198.18.144.9", "198.19.3.4"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("russia")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


def pull(book: Playbook, seconds: float, rate_bps: float, server: str = ELSEWHERE) -> float:
    """Let a server send at a rate for a while, 1000 bytes a packet; return what got through in bit/s."""
    raw = bytes(between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(960)), server=server).packet)
    step, through = 8000 / rate_bps, 0
    for _ in range(round(seconds / step)):
        book.now += step
        through += book.engine.receive(raw, OUTSIDE, book.now).verdict is Verdict.PASS
    return through * 8000 / seconds


@pytest.mark.parametrize("name", ["t.co", "twitter.com.t.co", "reddit.com", "microsoft.com"])
def test_a_name_with_t_co_in_it_is_policed_to_128_kbit_s(book: Playbook, name: str) -> None:
    opened(book) >> client_hello(name) << rule("twitter-2021")
    assert pull(book, 60, 2e6) == pytest.approx(128e3, rel=0.05)


def test_upstream_is_policed_too(book: Playbook) -> None:
    opened(book) >> client_hello("t.co")
    raw, through = bytes(data(bytes(960)).packet), 0
    for _ in range(2000):
        book.now += 0.01
        through += book.engine.receive(raw, INSIDE, book.now).verdict is Verdict.PASS
    assert through * 8000 / 20 == pytest.approx(128e3, rel=0.1)


@pytest.mark.parametrize("name", ["twitter.com", "example.org"])
def test_other_names_keep_their_speed(book: Playbook, name: str) -> None:
    opened(book) >> client_hello(name)
    assert pull(book, 5, 2e6) == pytest.approx(2e6, rel=0.01)


def test_each_connection_has_its_own_ceiling(book: Playbook) -> None:
    for sport in (40001, 40002):
        opened(book, sport=sport) >> between(client_hello("t.co"), sport=sport)
        raw = bytes(between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(960)), sport=sport).packet)
        assert book.engine.receive(raw, OUTSIDE, book.now).verdict is Verdict.PASS


def test_plain_http_is_not_slowed(book: Playbook) -> None:
    opened(book, 80) >> request("t.co") << silence()


def of_size(size: int, version: int = 1) -> bytes:
    packet = initial(crypto(0, bytes(60)), version=version, least=200)
    return packet + bytes(size - len(packet))


@pytest.mark.parametrize(("size", "gone"), [(1000, False), (1001, False), (1002, True), (1200, True), (1400, True)])
def test_quic_initials_of_more_than_1001_bytes_are_dropped(book: Playbook, size: int, gone: bool) -> None:
    book >> datagram(of_size(size)) << (dropped() if gone else silence())


def test_the_name_in_quic_does_not_matter_but_the_version_does(book: Playbook) -> None:
    book >> datagram(of_size(1200, 0x6B3343CF)) << silence()
    book >> datagram(b"\x43" + bytes(1300)) << silence()


def frozen_after(policy: Policy, seed: int, server: str = HETZNER) -> int:
    """Return how many bytes a server gets through after the hello, at most 60,000."""
    book = opened(playbook(Engine(policy, seed=seed)), server=server)
    book >> between(client_hello("any.example"), server=server)
    raw = bytes(between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(700)), server=server).packet)
    through = 0
    while through < 60_000 and book.engine.receive(raw, OUTSIDE, book.now).verdict is Verdict.PASS:
        through += 700
    return through


def test_tls_to_foreign_data_centres_freezes_after_15_to_20_kb(policy: Policy) -> None:
    sizes = [frozen_after(policy, seed) for seed in range(60)]
    assert min(sizes) >= 15_000
    assert max(sizes) <= 20_000 + 700
    assert max(sizes) - min(sizes) > 3_000
    assert all(21 <= size / 700 <= 30 for size in sizes), "about 25 packets"


def test_a_frozen_connection_stays_frozen_without_a_reset(policy: Policy) -> None:
    book = opened(playbook(Engine(policy, seed=1)), server=HETZNER)
    book >> between(client_hello("any.example"), server=HETZNER)
    for _ in range(40):
        book >> between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(700)), server=HETZNER)
    book << dropped() >> between(data(b"hello?"), server=HETZNER) << silence()
    book.now += 120
    book >> between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(10)), server=HETZNER) << dropped()


def test_a_hello_in_two_segments_freezes_too(policy: Policy) -> None:
    book = opened(playbook(Engine(policy, seed=1)), server=HETZNER)
    hello = hello_bytes("any.example")
    book >> between(data(hello[:30]), server=HETZNER) << rule("freeze-2025")
    book >> between(data(hello[30:], offset=30), server=HETZNER)
    for _ in range(40):
        book >> between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(700)), server=HETZNER)
    book << dropped()


def test_other_places_and_other_protocols_do_not_freeze(policy: Policy) -> None:
    assert frozen_after(policy, 1, ELSEWHERE) >= 60_000
    book = opened(playbook(Engine(policy, seed=1)), 80, server=HETZNER)
    book >> between(request("any.example"), server=HETZNER)
    for _ in range(60):
        book >> between(from_server("A", PEER_ISN + 1, ISN + 1, bytes(700), 80), server=HETZNER) << silence()
