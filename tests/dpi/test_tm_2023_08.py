"""Turkmenistan from August 2023: IMO gone, Cloudflare and hosters by address (facts §2, §4)."""

from __future__ import annotations

import pytest

from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from testbed.scenario.topology import GROUPS
from tests.dpi.playbook import (
    INSIDE,
    Playbook,
    answer,
    between,
    client_hello,
    datagram,
    dropped,
    opened,
    playbook,
    query,
    request,
    reset,
    rule,
    silence,
)

CLOUDFLARE, HOSTER, ELSEWHERE = "198.18.128.9", "198.18.144.9", "198.18.176.9"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tm-2023-08", GROUPS)


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


@pytest.mark.parametrize("name", ["imo.im", "chat.imo.im", "photos.media.imo.im"])
def test_imo_is_gone_by_name(book: Playbook, name: str) -> None:
    book >> query(name) << answer() << rule("imo-names-dns")
    opened(book) >> client_hello(name) << reset(INSIDE) << rule("imo-names-sni")


@pytest.mark.parametrize("content", [b"\x09\x02" + bytes(8), b"\0\x09\x03" + bytes(8), b"\x88\x49\x1a\0" + bytes(1095)])
def test_imo_calls_die(book: Playbook, content: bytes) -> None:
    book >> datagram(content, 40001) << dropped()


def test_names_like_imos_pass(book: Playbook) -> None:
    book >> query("maximo.im.example") << silence()


@pytest.mark.parametrize("server", [CLOUDFLARE, HOSTER])
def test_listed_addresses_are_cut_after_the_handshake_and_before_data(book: Playbook, server: str) -> None:
    opened(book, server=server) << reset(INSIDE) << rule("listed-addresses")


def test_other_addresses_pass(book: Playbook) -> None:
    opened(book, server=ELSEWHERE) << silence()


def test_datagrams_to_listed_addresses_are_not_claimed(book: Playbook) -> None:
    book >> between(datagram(b"x" * 30, 4500), server=CLOUDFLARE) << silence()


def test_the_dpi_of_2022_goes_on(book: Playbook) -> None:
    book >> query("twitter.com") << answer()
    opened(book, 8080) >> request("twitter.com", 8080) << reset(INSIDE)
    book >> datagram(bytes(20), 3478) << dropped()


def test_all_of_2022_is_kept_by_the_same_rules(policy: Policy) -> None:
    before = load_policy("tm-2022")
    kept = {rule.name: rule for rule in policy.rules}
    assert all(kept[rule.name] == rule for rule in before.rules)
    assert (policy.parser, policy.tracking, policy.injector) == (before.parser, before.tracking, before.injector)
