"""Turkmenistan in 2020: Cloudflare's addresses from both directions, names by SNI (facts §2, CP20)."""

from __future__ import annotations

import pytest

from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from testbed.scenario.topology import GROUPS
from tests.dpi.playbook import (
    INSIDE,
    OUTSIDE,
    Playbook,
    between,
    client_hello,
    opened,
    playbook,
    query,
    request,
    reset,
    rule,
    silence,
)

CLOUDFLARE = "198.18.128.9"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("tm-2020", GROUPS)


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


def test_cloudflare_is_cut_after_the_handshake(book: Playbook) -> None:
    opened(book, server=CLOUDFLARE) << reset(INSIDE) << rule("cloudflare")


def test_cloudflare_is_cut_from_outside_too(book: Playbook) -> None:
    opened(book, 80, client=CLOUDFLARE, server="100.64.1.1", from_outside=True) << reset(OUTSIDE)


def test_cloudflare_is_cut_whatever_the_port(book: Playbook) -> None:
    opened(book, 22, server=CLOUDFLARE) << reset(INSIDE)


@pytest.mark.parametrize("name", ["addons.mozilla.org", "www.facebook.com"])
def test_names_are_reset_by_sni(book: Playbook, name: str) -> None:
    opened(book) << silence() >> client_hello(name) << reset(INSIDE) << rule("tls-sni")


def test_other_names_pass(book: Playbook) -> None:
    opened(book) >> client_hello("www.mozilla.org") << silence()


def test_nothing_is_claimed_of_dns_and_http(book: Playbook) -> None:
    book >> query("www.facebook.com") << silence()
    opened(book, 80) >> request("www.facebook.com") << silence()


def test_without_the_group_nothing_else_is_cut(book: Playbook) -> None:
    opened(book, server="198.18.144.9") >> between(client_hello("a.example"), server="198.18.144.9") << silence()
