"""Kazakhstan in 2019: 37 names opened by the state's box, others cut off (facts/censors.md)."""

from __future__ import annotations

import pytest

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.playbook import (
    PEER_ISN,
    SPORT,
    Playbook,
    Send,
    ack,
    between,
    client_hello,
    dropped,
    from_server,
    opened,
    playbook,
    query,
    request,
    rule,
    silence,
    syn,
    wait,
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy("kazakhstan-2019")


@pytest.fixture
def book(policy: Policy) -> Playbook:
    return playbook(Engine(policy, seed=1))


def test_there_are_37_names(policy: Policy) -> None:
    assert len(policy.names["kz-https.txt"]) == 37


def test_each_of_them_is_opened_and_nothing_else_is_done(policy: Policy) -> None:
    for pattern in policy.names["kz-https.txt"]:
        book = opened(playbook(Engine(policy, seed=1))) >> client_hello(pattern.removeprefix("=")) << rule("intercept")
        assert book.last.intercept == "intercept"
        assert (book.last.verdict, book.last.injections) == (Verdict.PASS, ())


def test_its_certificates_are_of_the_states_own_authority(policy: Policy) -> None:
    action = policy.rules[0].action.intercept
    assert action is not None
    assert action.issuer == "Qaznet Trust Network"


@pytest.mark.parametrize("name", ["www.vk.com", "example.org", "xgoogle.com"])
def test_names_beside_them_are_not(book: Playbook, name: str) -> None:
    opened(book) >> client_hello(name) << silence()
    assert book.last.intercept is None


def test_dns_and_http_of_these_names_pass(book: Playbook) -> None:
    book >> query("www.facebook.com") << silence()
    opened(book, 80) >> request("www.facebook.com") << silence()


@pytest.mark.parametrize("step", [client_hello("www.ratel.kz", 80), request("www.ratel.kz", 80)])
def test_other_names_lead_nowhere_for_120_s_on_the_4_tuple(book: Playbook, step: Send) -> None:
    opened(book, 80) >> step << dropped()
    book >> wait(119) >> ack(80) << dropped() >> from_server("A", PEER_ISN + 1, 1, dport=80) << dropped()
    book >> between(syn(80), sport=SPORT + 1) << silence()
    book >> wait(2) >> ack(80) << silence()
