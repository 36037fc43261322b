"""`testbed tool` with real programs: both sides of a verdict, its reason, and a run that goes on without its tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Testbed

pytestmark = pytest.mark.live


def outcome_of(testbed: Testbed, recipe: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = testbed("tool", recipe, "--link", "none", "--soak", "0", "--connections", "3", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, {tool["recipe"]: tool for tool in json.loads(done.stdout)["tools"]}


def verdicts(tool: dict[str, Any]) -> dict[str, str]:
    return {policy["policy"]: policy["verdict"] for policy in tool["policies"]}


def test_no_tool_is_blocked_and_says_by_what_packet(testbed: Testbed) -> None:
    status, found = outcome_of(testbed, "direct", "--policy", "tm-2022")
    assert (status, verdicts(found["direct"])) == (1, {"open": "passes", "tm-2022": "blocked"})
    policy = found["direct"]["policies"][1]
    assert list(policy["success"]["failures"]) == ["connection_reset at tls_handshake"]
    reset = next(entry for entry in policy["blocked_by"] if entry["reason"] == "reset")
    assert (reset["rule"], reset["evidence"]["sni"]) == ("tls-sni", "twitter.com")
    assert reset["packet"]


@pytest.mark.parametrize(
    ("strategy", "verdict"),
    [
        (r"[TCP:flags:PA]-fragment{tcp:8:True}-| \/", "passes"),  # M, ART: no reassembly
        (r"[TCP:flags:PA]-tamper{IP:ttl:add:1}-| \/", "blocked"),  # a strategy that changes nothing it looks at
    ],
)
def test_geneva_against_the_measured_censor(testbed: Testbed, strategy: str, verdict: str) -> None:
    _, found = outcome_of(testbed, "geneva", "--policy", "tm-2022", "--strategy", strategy)
    assert verdicts(found["geneva"]) == {"open": "passes", "tm-2022": verdict}


def test_a_policy_that_blocks_nothing_proves_nothing(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "nothing.yaml").write_text("policy: nothing\ntitle: Nothing\nrules: []\n")
    status, found = outcome_of(testbed, "direct", "--policy", "nothing.yaml")
    assert status == 3
    assert found["direct"]["policies"][1]["verdict"] == "invalid"
    assert "the control client was not blocked" in found["direct"]["policies"][1]["why"][0]


def test_a_censor_is_shown_alive_by_what_its_own_rules_are_about(testbed: Testbed) -> None:
    """A page of its own, two ports alone, a throttle, a word: none of them keeps a well-known site from loading.

    Geneva's mock censor 6 is blinded by the end of any connection: the pages that are to pass would be enough.
    """
    policies = {
        "geneva-6": ("http://www.example.org/ultrasurf", "generic_timeout_error at http_round_trip"),
        "india-airtel": ("http://", "http-diff at http_round_trip"),
        "iran-2025": ("https://www.example.org:8443/", "generic_timeout_error at connect"),
        "russia": ("https://t.co/bytes/", "generic_timeout_error at http_round_trip"),
    }
    asked = [word for policy in policies for word in ("--policy", policy)]
    _, found = outcome_of(testbed, "direct", *asked, "--timeout", "3 s", "--connections", "1")
    for policy in found["direct"]["policies"][1:]:
        site, how = policies[policy["policy"]]
        assert policy["verdict"] == "blocked", policy["why"]
        assert policy["controls"]["blocked"].startswith(site)
        assert policy["controls"]["how"] == how


def test_a_regression_fails_and_names_the_difference(testbed: Testbed, tmp_path: Path) -> None:
    _, found = outcome_of(testbed, "geneva", "--policy", "tm-2022")
    (tmp_path / "before.json").write_text(json.dumps({"tools": list(found.values())}))
    arguments = ("geneva", "--policy", "tm-2022", "--strategy", r"\/", "--baseline", "before.json")
    status, worse = outcome_of(testbed, *arguments)
    assert status == 1
    assert worse["geneva"]["regressions"] == ["tm-2022: blocked, was passes (by `tls-sni`)"]


def test_what_is_not_installed_is_skipped_with_its_reason(testbed: Testbed, tmp_path: Path) -> None:
    recipe = "recipe: gone\ntitle: Gone\nneeds: {programs: {no-such-tool: 'apt: no-such-tool'}}\nuse: {}\n"
    (tmp_path / "gone.yaml").write_text(recipe)
    status, found = outcome_of(testbed, "./gone.yaml")
    assert status == 3
    assert found["gone"]["skipped"] == "the program `no-such-tool` is not installed (apt: no-such-tool)"
    assert found["gone"]["policies"] == []


def test_a_tool_that_does_not_start_without_a_censor_is_broken_not_blocked(testbed: Testbed, tmp_path: Path) -> None:
    launch = "{name: cli, argv: [sh, -c, 'echo bad key; exit 4'], ready: {says: never}}"
    (tmp_path / "bad.yaml").write_text(f"recipe: bad\ntitle: Bad\nclient: [{launch}]\nuse: {{}}\n")
    status, found = outcome_of(testbed, "./bad.yaml", "--policy", "tm-2022")
    assert (status, verdicts(found["bad"])) == (1, {"open": "broken", "tm-2022": "broken"})
    assert found["bad"]["policies"][0]["started"].endswith("cli ended with status 4: bad key")


LOST = """
scenario: lost
title: A run that goes on without its tool
link: none
policy: open
duration: 3 s
tools:
  - {name: gone, recipe: ./lost-recipe.yaml}
apps:
  - {name: through, app: web, through: gone, params: {url: https://a.example/}}
  - {name: straight, app: web, params: {url: https://a.example/}}
"""


def test_a_run_goes_on_without_a_tool_that_does_not_start(testbed: Testbed, tmp_path: Path) -> None:
    launch = "{name: s, argv: [sh, -c, 'echo bad key; exit 4'], ready: {says: never}}"
    recipe = f"recipe: lost-recipe\ntitle: Lost\nserver: [{launch}]\nuse: {{proxy: 'socks5://127.0.0.1:1080'}}\n"
    (tmp_path / "lost-recipe.yaml").write_text(recipe)
    (tmp_path / "lost.yaml").write_text(LOST)
    done = testbed("run", "lost.yaml", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 3
    assert [app["name"] for app in result["apps"]] == ["straight"]
    assert result["why"] == ["the tool gone is skipped: gone: s ended with status 4: bad key"]
