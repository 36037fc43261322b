"""What `explain` says: the rule, the line, the action in words, and whom a pattern hits besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import shipped
from testbed.dpi.action import Action
from testbed.dpi.explain import Explanation, as_lines, describe, explain, line_of, overblocked
from testbed.dpi.names import NameIndex, read_list
from testbed.dpi.policy import load_policy

WELL_KNOWN = [
    name for _, name in read_list((shipped.folder("policies") / "lists" / "well-known.txt").read_text().splitlines())
]
HEAD = "policy: ru-2021\ntitle: t\nplacement: in-path\nrules:\n"
RULE = (
    "  - {name: slow, match: {sni: {patterns: ['*t.co*']}, ports: [443], unless: [{sni: {patterns: [=ok.t.co]}}]},\n"
    "     action: {throttle: {rate: 128 kbit/s}}, probability: 50 %, evidence: {mark: M, source: 'net4people #65'}}\n"
)


def explained(reference: str | Path, name: str, against: list[str] | None = None) -> tuple[Explanation, ...]:
    policy = load_policy(reference, {})
    return explain(policy, name, WELL_KNOWN if against is None else against, lambda listed, hit: f"{listed}:{hit.kind}")


def test_a_name_is_explained_for_each_way_of_asking() -> None:
    found = explained("tm-2022", "xtwitter.com")
    assert [(item.way, item.hit.rule, item.hit.pattern, item.place) for item in found] == [
        ("DNS", "dns", "*twitter.com*", "tm-dns.txt:dns"),
        ("HTTP", "http-host", "*twitter.com*", "tm-http.txt:http_host"),
        ("HTTPS", "tls-sni", "*twitter.com*", "tm-https.txt:sni"),
    ]
    assert found[0].action == "sends a forged answer: A 127.0.0.1, TTL 300 s"
    assert found[1].action == "sends 1 RST to the sender"
    assert found[1].residual == "for 30 s every packet of the same 4-tuple draws the reset again"
    assert found[2].evidence["source"] == "ART, SNOW"


def test_what_only_one_list_holds_is_told(tmp_path: Path) -> None:
    policy = load_policy("tm-2022")
    lines = as_lines("cdn.sstatic.net", policy, explained("tm-2022", "cdn.sstatic.net"))
    assert lines[-1] == "HTTP, HTTP/3: no rule hits cdn.sstatic.net"


def test_the_slip_of_2021_hits_reddit_and_microsoft(tmp_path: Path) -> None:
    """Russia, 2021: `*t.co*` was meant for Twitter's t.co and slowed others (facts/censors.md, net4people #65)."""
    path = tmp_path / "ru.yaml"
    path.write_text(HEAD + RULE)
    (found,) = explained(path, "t.co")
    assert {"reddit.com", "microsoft.com"} <= set(found.overblock.by_accident)
    assert "t.co" not in found.overblock.names
    assert found.overblock.among == len(WELL_KNOWN) > 2000
    assert found.action == "throttles the flow to 128 kbit/s: it drops what exceeds it"
    assert found.conditions[:2] == ("on port 443", "for 0.5 of connections")
    assert "=ok.t.co" in found.conditions[2]
    assert "by accident: " in as_lines("t.co", load_policy(path), (found,))[-2]


def test_what_an_exception_names_is_not_hit(tmp_path: Path) -> None:
    path = tmp_path / "ru.yaml"
    path.write_text(HEAD + RULE)
    assert explained(path, "ok.t.co") == ()
    (found,) = explained(path, "t.co", ["ok.t.co", "not.t.co"])
    assert found.overblock.names == ("not.t.co",)


def test_an_allow_list_hits_all_but_its_names() -> None:
    found = explained("allow-list", "twitter.com", ["www.tmcell.tm", "example.org"])
    assert [(item.way, item.hit.rule) for item in found if item.first] == [
        ("DNS", "dns"), ("HTTP", "tcp-first-packet"), ("HTTPS", "tcp-first-packet"), ("HTTP/3", "udp"),
    ]  # fmt: skip
    assert {item.overblock.names for item in found} == {("example.org",)}
    lines = as_lines("twitter.com", load_policy("allow-list"), found)
    assert "HTTPS: rule `tcp-first-packet` by being no exception  :sni" in lines
    assert "  unless sni allow-https.txt" in lines
    assert explained("allow-list", "www.tmcell.tm") == ()


@pytest.mark.parametrize(
    ("match", "ways"),
    [
        ("any: [{dns: {patterns: [=a.b]}}, {sni: {patterns: [=a.b]}}]", ["DNS", "HTTPS"]),
        ("all: [{protocol: tcp}, {http_host: {patterns: [=a.b]}}]", ["HTTP"]),
        ("any: [{quic_sni: {patterns: [=a.b]}}, {protocol: tcp}], sni: {patterns: [=c.b]}", []),
        ("any: [{protocol: udp, sni: {patterns: [=a.b]}}, {http_host: {patterns: [=a.b]}}]", ["HTTP"]),
        ("sni: {patterns: [.b]}, not: {any: [{sni: {patterns: [=a.b]}}, {ports: [80]}]}", []),
        ("sni: {patterns: [.b]}, not: {sni: {patterns: [=a.b]}, ports: [80]}", ["HTTPS"]),
        ("sni: {patterns: [.b]}, unless: [{dns: {patterns: [=a.b]}}, {all: [{sni: {patterns: [=c.b]}}]}]", ["HTTPS"]),
        ("protocol: tcp, ports: [443], not: {sni: {patterns: [=c.b]}}", ["HTTPS"]),
        ("everything: true", []),
    ],
)
def test_names_are_found_however_matches_are_put_together(tmp_path: Path, match: str, ways: list[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        HEAD + f"  - {{name: r, match: {{{match}}}, action: {{drop: flow}}, evidence: {{mark: U, source: x}}}}\n"
    )
    assert [item.way for item in explained(path, "a.b", [])] == ways


def test_under_its_own_name_a_substring_hits_on_purpose() -> None:
    found = overblocked("*t.co*", "t.co", ["m.t.co", "t.co", "reddit.com", "example.org"])
    assert (found.names, found.by_accident) == (("m.t.co", "reddit.com"), ("reddit.com",))
    assert overblocked("=t.co", "t.co", WELL_KNOWN).names == ()


def test_an_open_policy_hits_nothing() -> None:
    found = explained("open", "twitter.com")
    assert found == ()
    assert as_lines("twitter.com", load_policy("open"), found) == ["open: no rule hits twitter.com"]


def test_a_second_rule_for_the_same_way_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(HEAD + RULE + RULE.replace("slow", "slower").replace("*t.co*", ".co"))
    found = explained(path, "t.co", [])
    assert [(item.hit.rule, item.first) for item in found] == [("slow", True), ("slower", False)]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"rst": {"flags": "RA", "to": "both", "count": 3}}, "sends 3 RST+ACK to both ends"),
        ({"rst": {"payload_bytes": 10}}, "sends 1 RST with 10 bytes of payload to the sender"),
        ({"dns_answer": {"malformed_edns": True}}, "sends a malformed forged answer: A 127.0.0.1, TTL 300 s"),
        ({"block_page": {"status": 451}}, "answers with a block page, status 451"),
        ({"delay": "2 s"}, "delays the packet by 2 s"),
        ({"drop": "flow"}, "drops the packet and the rest of its flow"),
    ],
)
def test_actions_in_words(action: dict[str, object], words: str) -> None:
    assert describe(Action.model_validate(action)) == words


def test_the_line_of_a_pattern_is_found_as_it_is_compared() -> None:
    lines = ["# list", "", "*B*", ".Пример.рф # why"]
    assert line_of("*b*", lines) == 3
    assert line_of(".xn--e1afmkfd.xn--p1ai", lines) == 4
    assert line_of("=x", lines) is None


def test_well_known_names_are_names() -> None:
    assert len(set(WELL_KNOWN)) == len(WELL_KNOWN)
    index = NameIndex(["/^[a-z0-9-]+(\\.[a-z0-9-]+)+$/"])
    assert [name for name in WELL_KNOWN if index.find(name) is None] == []
