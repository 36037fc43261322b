"""The table of tools and policies: as its results say, whole, and made anew only by results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed import shipped
from testbed.dpi.policy import load_policy
from testbed.report.toolpage import differences, page, reduce
from testbed.tools.recipe import Use, load_recipe

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_its_results_say() -> None:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    chances = {name: load_policy(name).chances for name in shipped.names("policies")}
    assert (DOCS / "tools.md").read_text(encoding="utf-8") == page(kept, chances), "run scripts/tools-page"


def test_every_recipe_stands_in_it_with_a_verdict_or_the_reason_why_not() -> None:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    assert set(kept) == set(shipped.names("recipes")), "run scripts/tools-page"
    for name, entry in kept.items():
        if entry["policies"]:
            assert entry["policies"]["open"]["verdict"] == "passes", name
        else:
            assert "not installed" in entry["skipped"] or "lacks" in entry["skipped"], name


def test_its_policies_exist() -> None:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    assert {policy for entry in kept.values() for policy in entry["policies"]} <= set(shipped.names("policies"))


def test_results_are_laid_over_older_ones() -> None:
    blocked = {"policy": "p", "verdict": "blocked", "blocked_by": [{"rule": "b"}, {"rule": "a"}, {"rule": "a"}]}
    tool = {"recipe": "r", "title": "R", "policies": [{"policy": "open", "verdict": "passes"}, blocked]}
    first = reduce([tool])
    assert first == {
        "r": {"title": "R", "policies": {"open": {"verdict": "passes"}, "p": {"verdict": "blocked", "by": ["a", "b"]}}}
    }
    later = reduce([{**tool, "policies": [{"policy": "p", "verdict": "passes", "blocked_by": [{"rule": "a"}]}]}], first)
    assert later["r"]["policies"] == {"open": {"verdict": "passes"}, "p": {"verdict": "passes"}}
    assert reduce([{"recipe": "r", "title": "R", "skipped": "gone", "policies": []}], later) == later
    text = page(later | reduce([{"recipe": "s", "title": "S", "skipped": "not installed", "policies": []}]))
    assert "1 recipes, 2 cells, of which 2 prove something" in text
    assert "| [r](../recipes/r.yaml) | ✓ |" in text
    assert "- [s](../recipes/s.yaml) S: not installed" in text


def test_what_proves_nothing_takes_no_proven_cells_place() -> None:
    def tool(verdict: str, *why: str) -> dict[str, Any]:
        return {"recipe": "r", "title": "R", "policies": [{"policy": "p", "verdict": verdict, "why": list(why)}]}

    nothing = tool("invalid", "the control client was not blocked from any of the control sites: name a site")
    slow = tool("invalid", "gateway judged 76 of 2846 packets more than 50 ms late: the machine is too slow")
    proven = {"r": {"title": "R", "policies": {"p": {"verdict": "passes"}}}}
    assert reduce([slow])["r"]["policies"] == {}
    assert reduce([nothing])["r"]["policies"] == {"p": {"verdict": "invalid"}}
    assert reduce([tool("passes"), slow, nothing]) == proven


def test_a_rule_that_acts_by_chance_is_shown_with_it() -> None:
    kept = {"r": {"title": "R", "policies": {"p": {"verdict": "unstable", "by": ["a", "b"]}}}}
    assert "| ~ `a`, `b` (26.3%) |" in page(kept, {"p": {"b": 0.263}})
    assert load_policy("china").chances == {"encrypted": 0.263}


def test_policies_stand_by_country_date_and_number() -> None:
    names = ("open", "tm-2022", "tm-2020", "geneva-10", "geneva-8b", "geneva-9", "china", "tm-shutdown")
    cells = {name: {"verdict": "passes"} for name in names} | {"china": {"verdict": "invalid"}}
    text = page({"r": {"title": "R", "policies": cells}})
    heads = [line for line in text.splitlines() if line.startswith("| recipe")]
    assert heads == [
        "| recipe | [2020](policies/turkmenistan.md#tm-2020) | [2022](policies/turkmenistan.md#tm-2022) "
        "| [shutdown](policies/turkmenistan.md#tm-shutdown) |",
        "| recipe | [china](../policies/china.yaml) |",
        "| recipe | [8b](policies/geneva.md#geneva-8b) | [9](policies/geneva.md#geneva-9) "
        "| [10](policies/geneva.md#geneva-10) |",
    ]
    assert "| [r](../recipes/r.yaml)<br>R | ✓ | ✓ | ✓ |" in text
    assert "- r: under `china`" in text


#: what happened in the country (facts/turkmenistan.md): recipe, policy, verdict, by which rule
FACTS = (
    ("direct", "tm-2022", "blocked", "tls-sni"),  # ART: a listed name in the hello draws a reset
    ("geneva", "tm-2022", "passes", ""),  # ART: an in-order split evades, the censor puts nothing together
    ("geneva-rst-before-syn", "tm-2022", "passes", ""),  # ART
    ("http-newline", "tm-2022", "passes", ""),  # ART: a newline before the method
    ("http-space-version", "tm-2022", "passes", ""),  # ART: white space after the version
    ("http-space-host", "tm-2022", "passes", ""),  # ART: white space before the host
    ("http-padded-hosts", "tm-2022", "passes", ""),  # ART: padded, doubled hosts
    ("obfs4", "tm-2022", "passes", ""),  # BBS80: a private bridge has a good chance
    ("tor", "tm-2022", "blocked", "tor-relays"),  # SNOW: direct users fell to none
    ("tor-obfs4", "tm-2022", "passes", ""),  # BBS80
    ("snowflake", "tm-2022", "blocked", "stun"),  # SNOW: 3478 blocked since 2022-08-03
    ("snowflake-3479", "tm-2022", "passes", ""),  # SNOW: 3479 open on AGTS …
    ("snowflake-3479", "tm-2022-turkmentelecom", "blocked", "stun-3479"),  # … and blocked on Turkmentelecom
    ("doq", "tm-2022", "passes", ""),  # a resolver's name that nobody listed
    ("doh-listed", "tm-2022", "blocked", "tls-sni"),  # BBS80, OONI probe #1952: names of DoH services
    ("resolver-public", "tm-2022", "blocked", "dns"),  # BBS80: forged on the way, whatever the resolver
)


#: what no page can show: it acts on the media of calls over UDP alone
NO_PAGE = "tm-2018-imo-calls"
TURKMEN = [
    name for name in shipped.names("policies") if name.startswith("tm-") and name not in ("tm-shutdown", NO_PAGE)
]
STUN_BLOCKED = [name for name in TURKMEN if name >= "tm-2022"]


def kept_cells() -> dict[str, dict[str, Any]]:
    kept = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))
    return {name: entry["policies"] for name, entry in kept.items() if entry["policies"]}


def test_every_recipe_has_a_cell_under_every_policy() -> None:
    policies = set(shipped.names("policies"))
    lacking = {name: sorted(policies - set(cells)) for name, cells in kept_cells().items() if policies - set(cells)}
    assert lacking == {}, "run `testbed tool RECIPE --policy P --json` and scripts/tools-page"


def why_nothing(use: Use, policy: str) -> str | None:
    """Return the reason, of those that the page gives, why a client of this kind meets nothing under a policy."""
    matches = [match for rule in load_policy(policy).rules for match in rule.match.walk()]
    speak = {kind for match in matches for kind in ("dns", "http_host", "sni") if getattr(match, kind) is not None}
    if policy == NO_PAGE:
        return "calls alone"
    if use.carries == "names" and "dns" not in speak:
        return "no names in DNS"
    if use.carries == "http" and "http_host" not in speak:
        return "no pages without TLS"
    if use.command and "sni" not in speak:
        return "only pages without TLS"
    return None


def test_every_dash_has_a_reason_that_the_page_gives() -> None:
    for name, cells in kept_cells().items():
        use = load_recipe(name).use
        for policy, cell in cells.items():
            assert cell["verdict"] != "broken", (name, policy)
            assert cell["verdict"] != "invalid" or why_nothing(use, policy), (name, policy)


def test_whole_rows_and_columns_agree_with_what_happened() -> None:
    """The same facts (SNOW, BBS80, facts §2 and §3) over all of Turkmenistan's policies, and what a censor is for."""
    cells = kept_cells()
    for policy in TURKMEN:
        assert cells["direct"][policy]["verdict"] == "blocked", policy
        assert cells["obfs4"][policy]["verdict"] == "passes", policy
        assert cells["amneziawg"][policy]["verdict"] == cells["openvpn-udp"][policy]["verdict"] == "passes", policy
        assert (cells["snowflake"][policy].get("by") == ["stun"]) == (policy in STUN_BLOCKED), policy
        assert ("stun-3479" in cells["snowflake-3479"][policy].get("by", ())) == ("turkmentelecom" in policy), policy
        assert (cells["tor"][policy].get("by") == ["tor-relays"]) == (policy in STUN_BLOCKED), policy
    for name, found in cells.items():
        assert found["open"]["verdict"] == "passes", name
        assert found["tm-shutdown"] == {"verdict": "blocked", "by": ["everything"]}, name
    blocked = {policy for policy, cell in cells["direct"].items() if cell["verdict"] == "blocked"}
    assert blocked == set(shipped.names("policies")) - {"open", NO_PAGE}


@pytest.mark.parametrize(("recipe", "policy", "verdict", "rule"), FACTS)
def test_the_table_agrees_with_what_happened(recipe: str, policy: str, verdict: str, rule: str) -> None:
    cell = json.loads((DOCS / "tools.json").read_text(encoding="utf-8"))[recipe]["policies"][policy]
    assert cell["verdict"] == verdict
    assert not rule or rule in cell["by"]


def test_what_a_machine_finds_otherwise_is_named() -> None:
    cells = {"p": {"verdict": "passes"}, "q": {"verdict": "unstable", "by": ["a"]}, "s": {"verdict": "invalid"}}
    kept = {"r": {"title": "R", "policies": cells}}

    def found(**verdicts: str) -> list[str]:
        policies = [
            {"policy": policy, "verdict": verdict, "why": [], "blocked_by": [{"rule": "a"}]}
            for policy, verdict in verdicts.items()
        ]
        return differences(kept, [{"recipe": "r", "title": "R", "policies": policies}])

    assert found(p="passes", q="blocked", s="invalid", new="blocked") == []
    assert found(p="blocked", q="broken") == [
        "r under p: blocked, the table says passes (by `a`)", "r under q: broken, the table says unstable (by `a`)",
    ]  # fmt: skip
    assert differences({}, [{"recipe": "r", "title": "R", "policies": []}]) == []
