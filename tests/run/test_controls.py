"""Sites by which the control of a tool's test is tried: those that a policy's own rules are about."""

from __future__ import annotations

from typing import Any

import pytest

from testbed import shipped
from testbed.dpi.policy import Policy, load_policy
from testbed.run.controls import (
    BLOCKED_ONES,
    OTHER_PORT,
    candidates,
    fit,
    sees_one_at_a_time,
    sites_of,
    with_path,
)  # fmt: skip
from testbed.tools.recipe import Use

EVIDENCE = {"mark": "G", "source": "a test"}


def policy(*rules: dict[str, Any]) -> Policy:
    numbered = [{"name": f"r{n}", "action": {"drop": "packet"}, "evidence": EVIDENCE, **r} for n, r in enumerate(rules)]
    return Policy.model_validate({"policy": "p", "title": "P", "placement": "in-path", "rules": numbered})


def test_a_policys_own_names_are_tried() -> None:
    found = sites_of(
        policy(
            {"match": {"sni": {"patterns": [".one.example", "*two.example*", ".three.example"]}}},
            {"match": {"http_host": {"patterns": ["=four.example", "*word*"]}}},
            {"match": {"dns": {"patterns": [".five.example"]}}},
            {"match": {"protocol": "udp", "ports": [3478]}},
        )
    )
    assert found == ["https://one.example/", "https://two.example/", "http://four.example/", "https://five.example/"]
    assert sites_of(load_policy("open")) == []


def test_names_inside_any_and_all_count_and_those_left_out_do_not() -> None:
    any_of = [{"sni": {"patterns": [".a.example"]}}, {"all": [{"http_host": {"patterns": [".b.example"]}}]}]
    left_out = [{"sni": {"patterns": [".c.example"]}}]
    assert sites_of(policy({"match": {"any": any_of, "unless": left_out}})) == [
        "https://a.example/",
        "http://b.example/",
    ]


def test_a_throttled_site_is_asked_for_more_than_comes_in_time() -> None:
    throttle = {"throttle": {"rate": "128 kbit/s", "burst": "16 kB"}}
    match = {"sni": {"patterns": [".a.example", ".b.example"]}}
    assert sites_of(policy({"match": match, "action": throttle}), 10.0) == ["https://a.example/bytes/256000"]
    assert (256_000 - 16_000) * 8 / 128_000 == 15.0  # seconds at the ceiling, behind the burst


def test_a_frozen_site_is_asked_for_more_than_passes() -> None:
    freeze = {"freeze": {"after_bytes": "15 kB", "up_to_bytes": "20 kB"}}
    assert sites_of(policy({"match": {"sni": {"patterns": [".a.example"]}}, "action": freeze})) == [
        "https://a.example/bytes/84000"
    ]


def test_a_keyword_is_put_where_the_censor_reads_it() -> None:
    assert sites_of(load_policy("geneva-2")) == ["http://www.example.org/ultrasurf", "https://ultrasurf.example.org/"]
    assert sites_of(policy({"match": {"payload": [{"regex": "a.*b"}]}})) == []


def test_what_a_policy_names_is_tried_before_what_it_blocks_by_the_way() -> None:
    """Geneva's censor 8b resets all that a client does once it said the word: twitter.com is no word of its."""
    assert candidates(load_policy("geneva-8b"))[0] == "http://www.example.org/ultrasurf"
    assert candidates(load_policy("tm-2022"))[0] == "https://twitter.com/"
    assert candidates(load_policy("russia"))[0].startswith("https://t.co/bytes/")
    assert candidates(load_policy("open")) == [*BLOCKED_ONES, OTHER_PORT]


def test_censors_that_follow_one_connection_are_known() -> None:
    found = [name for name in shipped.names("policies") if sees_one_at_a_time(load_policy(name))]
    assert found == [f"geneva-{number}" for number in range(1, 10)]  # but 8b, 10 and 11: their code keeps a table


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ({}, ["https://a.example/", "http://b.example/", "https://a.example:8443/"]),
        ({"command": ["curl", "{{ url }}"]}, ["https://a.example/", "https://a.example:8443/"]),
        ({"carries": "names"}, ["dns:a.example", "dns:b.example"]),
        ({"carries": "http"}, ["http://a.example/", "http://b.example/"]),
    ],
)
def test_a_way_of_use_asks_for_what_it_can_carry(use: dict[str, Any], expected: list[str]) -> None:
    urls = ["https://a.example/", "http://b.example/", "https://a.example:8443/", "https://a.example/"]
    assert fit(Use.model_validate(use), urls) == expected


def test_a_page_of_the_same_site_keeps_its_scheme_and_port() -> None:
    assert with_path("http://a.example:8443/x?y", "/bytes/9") == "http://a.example:8443/bytes/9"


def test_the_turkmen_policies_about_names_block_a_well_known_site() -> None:
    """So that a whole column needs no site of its own; those of 2018 are about calls, a shutdown about everything."""
    hosts = [url.removeprefix("https://").rstrip("/") for url in BLOCKED_ONES]
    for name in shipped.names("policies"):
        if name.startswith("tm-20") and "2018" not in name:
            assert any(load_policy(name).explain(host) for host in hosts), name
