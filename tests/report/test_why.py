"""Which decisions are laid to which attempt."""

from __future__ import annotations

import pytest

from testbed.report.why import causes, endpoints
from tests.report.runs import PLAN, decision, result


@pytest.mark.parametrize(
    ("flow", "ends"),
    [
        ("tcp 100.64.1.1:40000 > 198.19.3.4:443", ("100.64.1.1", "198.19.3.4")),
        ("udp 2001:db8:64::1:5353 > 2001:db8:18::53:53", ("2001:db8:64::1", "2001:db8:18::53")),
        ("ip/1 100.64.1.1 > 198.19.3.4", ("100.64.1.1", "198.19.3.4")),
        ("", ()),
    ],
)
def test_endpoints_of_a_flow(flow: str, ends: tuple[str, ...]) -> None:
    assert endpoints(flow) == ends


def test_a_decision_on_another_host_or_at_another_time_is_no_cause() -> None:
    own, other = "tcp 100.64.1.1:4 > 198.18.0.20:443", "tcp 100.64.1.2:4 > 198.18.0.20:443"
    decisions = [decision(5.0, own, "early"), decision(11.1, other, "other"), decision(11.2, own), decision(11.3, own)]
    slow, blocked = causes(result()["apps"], decisions, PLAN)
    assert (slow.verdict, slow.rules, slow.example) == ("slow", {}, None)
    assert blocked.rules == {"sni": 2}
    assert blocked.example == decisions[2]


def test_what_the_resolver_was_told_counts_where_nothing_fell_on_the_host() -> None:
    forged = decision(11.1, "udp 100.64.0.53:9999 > 198.18.0.54:53", "dns")
    assert causes(result()["apps"], [forged], PLAN)[1].rules == {"dns": 1}


def test_a_change_of_policy_is_no_cause() -> None:
    assert causes(result()["apps"], [decision(11.1, "", "policy")], {})[1].rules == {}


def test_what_the_kernel_dropped_by_rule_counts_where_no_flow_is_told() -> None:
    told = {**decision(11.9, "", "everything"), "verdict": "drop", "evidence": {"packets": 7, "bytes": 900}}
    late = {**told, "t": 14.0}
    cause = causes(result()["apps"], [told, late], PLAN)[1]
    assert (cause.rules, cause.example) == ({"everything": 7}, told)
    own = decision(11.2, "tcp 100.64.1.1:4 > 198.18.0.20:443")
    assert causes(result()["apps"], [told, own], PLAN)[1].rules == {"sni": 1}
