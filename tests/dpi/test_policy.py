"""Policies as files: what ships loads, what is wrong is told with its line, names are explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testbed import shipped
from testbed.dpi.policy import Policy, load_policy
from testbed.errors import InputError

HEAD = "policy: p\ntitle: t\nplacement: in-path\nrules:\n"
WHOLE = "  - {name: a, match: {sni: {patterns: [.a.com]}}, action: {rst: {}}, evidence: {mark: M, source: x}}\n"
GROUPS = {"cloudflare": ["198.18.128.0/20"], "hosting": ["198.18.144.0/20"]}


@pytest.mark.parametrize("name", shipped.names("policies"))
def test_shipped_policies_load_and_show_evidence(name: str) -> None:
    policy = load_policy(name, GROUPS)
    assert policy.policy == name
    assert all(rule.evidence.source for rule in policy.rules)


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        (HEAD + "  - {name: a, match: {sni: {patterns: [.a.com]}}, action: {rst: {}}}\n", 5, "evidence"),
        (HEAD + WHOLE.replace(".a.com", "a.com"), 5, "not a name pattern"),
        (HEAD + WHOLE + WHOLE, 6, "two rules"),
        (HEAD + WHOLE.replace("rst: {}", "rst: {}, drop: flow"), 5, "exactly one"),
        (HEAD.replace("in-path", "on-path") + WHOLE.replace("rst: {}", "drop: flow"), 5, "on-path"),
        (HEAD + WHOLE.replace("{patterns: [.a.com]}", "{lists: [none.txt]}"), 5, "no such list"),
        (HEAD + WHOLE.replace("sni: {patterns: [.a.com]}", "addresses: [198.18.0.0/40]"), 5, "no address"),
        (HEAD + WHOLE.replace("sni: {patterns: [.a.com]}", "addresses: [300.1.1.1]"), 5, "no address"),
        (HEAD + WHOLE.replace("sni: {patterns: [.a.com]}", "addresses: ['2001::g']"), 5, "no address"),
        (HEAD + WHOLE.replace("sni:", "dns:"), 5, "`rst` needs TCP, and this is UDP"),
        (HEAD + WHOLE.replace("sni: {patterns: [.a.com]}", "protocol: icmp"), 5, "`rst` needs TCP, and this is ICMP"),
        (HEAD + WHOLE.replace("sni: {patterns: [.a.com]}", "any: [{quic: true}, {protocol: udp}]"), 5, "needs TCP"),
        (HEAD + WHOLE.replace("sni:", "http_host: {patterns: [.a]}, sni:"), 5, "no packet is all of this"),
        (HEAD + WHOLE.replace("rst", "dns_answer"), 5, "needs a DNS question"),
        (HEAD + WHOLE.replace("sni:", "protocol: udp, sni:"), 5, "no packet is all of this"),
        (HEAD + WHOLE.replace("sni:", "all: [{quic: true}], sni:"), 5, "no packet is all of this"),
        ("program: /bin/true\n" + HEAD + WHOLE, 1, "unknown key `program`"),
        ("plugins: {}\n" + HEAD + WHOLE, 1, "unknown key `plugins`"),
        ("preset: tm-2202\n" + HEAD + WHOLE, 1, "did you mean `tm-2022`"),
        ("tracking: {table: 0}\n" + HEAD + WHOLE, 1, "too small"),
        ("parser: {unparsed: drop}\n" + HEAD.replace("in-path", "on-path") + WHOLE, 1, "can't read"),
    ],
)
def test_wrong_policies_are_told_with_their_line(tmp_path: Path, text: str, line: int, part: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(path)
    told = [(item.place, f"{item.what} {item.mend}") for item in caught.value.problems]
    assert any(place == f"{path}:{line}" and part in what for place, what in told), told


@pytest.mark.parametrize(
    ("match", "part"),
    [
        ("entropy: {least: 5, most: 3}", "exchange them"),
        ("entropy: {least: .nan}", "not a finite number"),
        ("payload: [{shortest: 9, longest: 3}]", "exchange them"),
        ("payload: [{prefix: 0x0902}]", "in quotes"),
        ("payload: [{contains: ['']}]", "empty text"),
        ("http: {url: ['']}", "empty text"),
        ("clock: {from: '10:00', to: '10:00'}", "same time of day"),
        ("volume: {over: 10 GB, up_to: 1 GB}", "below `over`"),
        ("countries: [Germany]", "two letters"),
        ("networks: [-3]", "too small"),
        ("quic: {versions: [-1]}", "too small"),
        ("tls: {ja3: [abc]}", "not a JA3"),
        ("tls: {ja4: [abc]}", "not a JA4"),
        ("plugin: 'perl:x'", "not a plug-in"),
        ("plugin: 'python:x.py'", "not a plug-in"),
    ],
)
def test_what_no_packet_fulfils_is_told(tmp_path: Path, match: str, part: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(HEAD + WHOLE.replace("sni: {patterns: [.a.com]}", match).replace("rst", "icmp"))
    with pytest.raises(InputError, match=f"{path}:5: .*{part}"):
        load_policy(path)


@pytest.mark.parametrize(
    ("action", "part"),
    [
        ("throttle: {rate: 0, mode: shape}", "choose more than 0"),
        ("rst: {seq_offsets: []}", "one at least"),
        ("rst: {seq_offsets: [99999999999]}", "32 bits"),
        ("rst: {payload: '00', payload_bytes: 3}", "two payloads"),
        ("probe: {sends: []}", "give 1 or more"),
        ("block_page: {headers: [no colon]}", "not a header line"),
        ('block_page: {headers: ["A: b\\r\\n\\r\\nc"]}', "no line breaks"),
        ('block_page: {location: "a\\nb"}', "no line breaks"),
    ],
)
def test_an_action_that_has_no_form_is_told(tmp_path: Path, action: str, part: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(HEAD + WHOLE.replace("rst: {}", action))
    with pytest.raises(InputError, match=f"{path}:5: .*{part}"):
        load_policy(path)


@pytest.mark.parametrize("answer", ["ttl: 99999999999 s", f"cname: {'a' * 64}.b", "cname: ''", "cname: a..b"])
def test_a_record_that_has_no_form_is_told(tmp_path: Path, answer: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(HEAD + WHOLE.replace("sni:", "dns:").replace("rst: {}", f"dns_answer: {{{answer}}}"))
    with pytest.raises(InputError, match=f"{path}:5: "):
        load_policy(path)


@pytest.mark.parametrize("word", ["moment: syn", "needs_handshake: true"])
def test_words_of_tcp_are_not_for_datagrams(tmp_path: Path, word: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(HEAD + WHOLE.replace("sni:", "dns:").replace("rst: {}}", "drop: packet}, " + word))
    with pytest.raises(InputError, match=f"{path}:5: .* is of TCP"):
        load_policy(path)


def test_what_can_act_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "right.yaml"
    for match in (
        "dns: {patterns: [.a]}",
        "any: [{dns: {patterns: [.a]}}, {sni: {patterns: [.a]}}]",
        "tls: {ech: true}",
    ):
        rule = WHOLE.replace("sni: {patterns: [.a.com]}", match)
        path.write_text(HEAD.replace("rules", "parser: {dns_over_tcp: true}\nrules") + rule)
        load_policy(path)


def test_unknown_names_and_groups_are_told() -> None:
    with pytest.raises(InputError, match="tm-2022"):
        load_policy("tm-2202")
    with pytest.raises(InputError, match="cloudflare"):
        load_policy("tm-2023-08", {})


def test_explain_shows_the_lists_apart() -> None:
    policy = load_policy("tm-2022")
    assert [hit.pattern for hit in policy.explain("XTwitter.com.")] == ["*twitter.com*"] * 3
    assert [hit.kind for hit in policy.explain("cdn.sstatic.net")] == ["dns", "sni"]
    assert policy.explain("example.org") == ()


def test_without_takes_one_rule_away() -> None:
    policy = load_policy("tm-2022")
    assert set(policy.rule_names) - set(policy.without("stun").rule_names) == {"stun"}


def test_the_kernel_gets_only_what_it_can_decide() -> None:
    sets = load_policy("tm-2023-08", GROUPS).kernel_sets()
    assert all(item.rule not in ("dns", "http-host", "tls-sni", "listed-addresses") for item in sets)
    (stun,) = load_policy("tm-2022").kernel_sets()
    assert (stun.rule, stun.protocol, stun.ports) == ("stun", "udp", ((3478, 3478),))


RST_AFTER = {"match": {"sni": {"patterns": ["*a*"]}}, "action": {"rst": {}}}


@pytest.mark.parametrize(
    "more",
    [
        {"filtered_hosts": 0.5},
        {"rules": [{**RST_AFTER, "residual": {"lasts": "30 s", "key": "server", "reaction": "rst"}}]},
        {"rules": [{"match": {"volume": {"over": "1 MB"}}, "action": {"drop": "packet"}}]},
        {"rules": [{"match": {"encrypted": True}, "action": {"probe": {}}}]},
    ],
)
def test_the_kernel_gets_nothing_if_the_engine_must_see_every_packet(more: dict[str, Any]) -> None:
    """The engine answers a block before the rules, counts bytes of what it drops, and spares the hosts not filtered."""

    def sets(**more: Any) -> list[str]:
        stun = {"match": {"protocol": "udp", "ports": [3478]}, "action": {"drop": "packet"}}
        rules = [stun, RST_AFTER, *more.pop("rules", [])]
        named = [{"name": f"r{i}", "evidence": {"mark": "G", "source": "test"}, **rule} for i, rule in enumerate(rules)]
        policy = {"policy": "p", "title": "t", "placement": "in-path", "rules": named, **more}
        return [item.rule for item in Policy.model_validate(policy).kernel_sets()]

    assert sets() == ["r0"]
    assert sets(**more) == []
