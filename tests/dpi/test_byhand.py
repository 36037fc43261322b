"""A name typed in is blocked with all that is under it, in each protocol, and nothing else."""

from __future__ import annotations

import pytest

from testbed.dpi.byhand import pattern_for, with_blocked
from testbed.dpi.policy import load_policy


def test_a_typed_name_runs_into_a_rule_of_each_protocol() -> None:
    policy = with_blocked(load_policy("open"), ["Example.com."])
    for name in ("example.com", "www.example.com"):
        assert [hit.kind for hit in policy.explain(name)] == ["dns", "http_host", "sni"]
    assert policy.explain("myexample.com") == ()


def test_the_policys_own_rules_stay() -> None:
    base = load_policy("tm-2022")
    assert with_blocked(base, ["example.com"]).rule_names[3:] == base.rule_names
    assert with_blocked(base, []) is base


@pytest.mark.parametrize("name", ["", "..", "a b", "*", "/x/"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        pattern_for(name)
