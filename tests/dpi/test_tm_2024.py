"""Turkmenistan in mid-2024: hosters and CDNs are let through on the fixed lines, not on the mobile one (facts §2)."""

from __future__ import annotations

import pytest

from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.scenario.load import load_scenario
from testbed.scenario.topology import GROUPS
from tests.dpi.playbook import INSIDE, Playbook, answer, datagram, dropped, opened, playbook, query, reset, silence

FIXED = ("tm-2024-amnesty", "tm-2024-turkmentelecom")
EVERY = (*FIXED, "tm-2024-mobile")


def book_of(name: str) -> Playbook:
    return playbook(Engine(load_policy(name, GROUPS), seed=1))


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("server", ["198.18.128.9", "198.18.144.9"])
def test_hosters_and_cdns_are_open_on_fixed_lines(name: str, server: str) -> None:
    opened(book_of(name), server=server) << silence()


@pytest.mark.parametrize("server", ["198.18.128.9", "198.18.144.9"])
def test_they_stay_cut_on_mobile(server: str) -> None:
    opened(book_of("tm-2024-mobile"), server=server) << reset(INSIDE)


@pytest.mark.parametrize("name", EVERY)
def test_names_stay_blocked_everywhere(name: str) -> None:
    book_of(name) >> query("twitter.com") << answer()
    book_of(name) >> query("chat.imo.im") << answer()
    book_of(name) >> datagram(bytes(20), 3478) << dropped()


@pytest.mark.parametrize("name", EVERY)
def test_3479_is_blocked_on_turkmentelecom_alone(name: str) -> None:
    wanted = dropped() if name == "tm-2024-turkmentelecom" else silence()
    book_of(name) >> datagram(bytes(20), 3479) << wanted


def test_the_scenario_gives_each_operator_its_own_box() -> None:
    scenario = load_scenario("amnesty-2024")
    assert scenario.box_policies == {
        "gateway": "open", "agtsgw": "tm-2024-amnesty", "telecomgw": "tm-2024-turkmentelecom",
        "mobilegw": "tm-2024-mobile",
    }  # fmt: skip
