"""What the censor did is laid at the door of the host it fell on, and told once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.errors import InputError
from testbed.session.seen import Decided, Done, Page, fell_on, page_of, why_of

RESET = Decided(
    1.0, "gateway", "tls-sni", "reset", "drop", "tcp 100.64.1.1:4000 > 198.19.3.4:443", 2,
    {"sni": "twitter.com", "pattern": "*twitter.com*"}, "a7ff5cf751844758",
)  # fmt: skip
FORGED = replace(RESET, rule="dns", reason="forged answer", verdict="pass", flow="udp 100.64.0.53:5 > 198.18.0.54:53")
COUNTED = replace(RESET, rule="address", reason="dropped by the kernel", flow="", injections=0)
SWITCHED = Decided(1.0, "gateway", "policy", "open gives way to tm-2022", "pass", "", 0)
CLIENT, RESOLVER = "100.64.1.1", "100.64.0.53"


def test_an_event_is_read_as_the_box_writes_it() -> None:
    event = {
        "t": 1.0, "box": "gateway", "rule": "tls-sni", "reason": "reset", "verdict": "drop", "injections": 2,
        "flow": RESET.flow, "evidence": dict(RESET.evidence), "trigger": {"hash": "a7ff5cf751844758"}, "now": 9.0,
    }  # fmt: skip
    assert Decided.of(event) == RESET


def test_a_hosts_own_flows_count_and_the_resolvers_only_where_there_are_none() -> None:
    both = [RESET, FORGED, SWITCHED]
    assert fell_on(both, CLIENT, RESOLVER, 0.5, 2.0) == (RESET,)
    assert fell_on(both, "100.64.1.2", RESOLVER, 0.5, 2.0) == (FORGED,)
    assert fell_on(both, "100.64.1.2", None, 0.5, 2.0) == ()


def test_what_came_before_or_long_after_does_not_count() -> None:
    assert fell_on([RESET], CLIENT, None, 1.1, 2.0) == ()
    assert fell_on([RESET], CLIENT, None, 0.0, 0.7) == ()
    assert fell_on([RESET], CLIENT, None, 0.0, 0.9) == (RESET,)


def test_what_the_kernel_counts_names_no_flow_and_counts_for_all() -> None:
    assert fell_on([COUNTED], CLIENT, RESOLVER, 0.5, 2.0) == (COUNTED,)
    assert fell_on([COUNTED, RESET], CLIENT, RESOLVER, 0.5, 2.0) == (RESET, COUNTED)


def test_why_tells_each_thing_once_and_no_mere_notes() -> None:
    note = replace(RESET, rule="seen", verdict="pass", injections=0)
    lines = why_of([RESET, replace(RESET, t=1.1), FORGED, note]).splitlines()
    assert lines == [
        "by `tls-sni`: reset on tcp 100.64.1.1:4000 > 198.19.3.4:443 (pattern *twitter.com*, sni twitter.com), 2 times",
        "by `dns`: forged answer on udp 100.64.0.53:5 > 198.18.0.54:53 (pattern *twitter.com*, sni twitter.com)",
    ]


def test_a_page_tells_oonis_words() -> None:
    attempt = {"url": "https://a.example/", "failure": "connection_reset", "operation": "tls_handshake", "total_s": 0.2}
    page = Page.of(attempt, "client1", 1.0, (RESET,))
    assert (page.ok, page.blocking) == (False, "http-failure")
    assert str(page) == "https://a.example/ from client1: connection_reset at tls_handshake after 0.20 s"
    assert page.as_attempt()["verdict"] == "blocked"
    forged = Page.of({**attempt, "operation": "connect to a forged address"}, "client1", 1.0, ())
    assert forged.blocking == "dns"


def test_a_command_tells_its_end() -> None:
    done = Done(("/usr/bin/my tool", "-v"), "client1", 3, "", "bad key", 1.0, 0.25)
    assert str(done) == "'/usr/bin/my tool' -v in client1: status 3 after 0.25 s"
    assert done.as_attempt()["name"] == "my tool"
    assert "no end" in str(replace(done, status=124, timed_out=True))


@pytest.mark.parametrize("url", ["https://a.example/", "http://a.example:8080/x", "dns:a.example"])
def test_a_page_has_a_scheme_and_a_name(url: str) -> None:
    assert page_of(url) == url


@pytest.mark.parametrize("url", ["twitter.com", "", "https://", "ftp://a.example/", "dns:", "htps://twitter.com/"])
def test_what_is_no_page_is_not_taken_for_a_blocked_one(url: str) -> None:
    with pytest.raises(InputError, match=r"not a page; write it as `https://site\.example/`"):
        page_of(url)
