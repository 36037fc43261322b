"""Each matcher: what it hits, what it leaves alone, and what it shows as evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from scapy.layers.inet import IP, TCP, UDP

from testbed.dpi.decision import Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from testbed.errors import InputError
from tests.dpi.one_rule import ANY_TLS, EVIDENCE, one_rule, ping, udp
from tests.dpi.playbook import (
    CLIENT,
    SERVER,
    Playbook,
    Send,
    ack,
    client_hello,
    data,
    hello_bytes,
    playbook,
    query,
    syn,
    syn_ack,
    wait,
)

DROP: dict[str, Any] = {"drop": "packet"}
FLOWS = Path(__file__).parent.parent / "data"


def connected(engine: Engine, dport: int = 443) -> Playbook:
    return playbook(engine) >> syn(dport) >> syn_ack(dport) >> ack(dport)


def hits(book: Playbook) -> bool:
    return book.last.verdict is Verdict.DROP


def evidence(book: Playbook) -> dict[str, Any]:
    return dict(book.last.notes[0].evidence)


@pytest.mark.parametrize(("qtype", "hit"), [("A", False), ("AAAA", True), ("HTTPS", True), ("TXT", False)])
def test_dns_types(qtype: str, hit: bool) -> None:
    assert hits(playbook(one_rule({"dns_types": ["AAAA", "65"]}, DROP)) >> query("a.com", qtype)) is hit


@pytest.mark.parametrize(
    ("http", "request_line", "hit"),
    [
        ({"methods": ["post"]}, "POST / HTTP/1.1", True),
        ({"methods": ["post"]}, "GET / HTTP/1.1", False),
        ({"url": ["falun"]}, "GET /?q=FALUN HTTP/1.1", True),
        ({"url": ["falun"]}, "GET /x HTTP/1.1", False),
        ({"keyword": ["x-secret"]}, "GET / HTTP/1.1\r\nX-Secret: 1", True),
        ({"methods": ["GET"], "keyword": ["x-secret"]}, "GET / HTTP/1.1", False),
    ],
)
def test_http(http: dict[str, Any], request_line: str, hit: bool) -> None:
    book = connected(one_rule({"http": http}, DROP), 80)
    assert hits(book >> data(f"{request_line}\r\nHost: b.com\r\n\r\n".encode(), 80)) is hit


def test_pipelined_requests_are_read_where_the_censor_knows_them() -> None:
    both = b"GET / HTTP/1.1\r\nHost: b.com\r\n\r\nGET / HTTP/1.1\r\nHost: a.com\r\n\r\n"
    for knows in (True, False):
        policy = {"parser": {"http_pipelined": knows}}
        book = connected(one_rule({"http_host": {"patterns": ["=a.com"]}}, DROP, policy=policy), 80)
        assert hits(book >> data(both, 80)) is knows


def browser_hello(name: str) -> bytes:
    return (FLOWS / "tls" / name).read_bytes()


@pytest.mark.parametrize(
    ("tls", "hit"),
    [
        ({"has_sni": True}, True),
        ({"has_sni": False}, False),
        ({"ech": False, "esni": False}, True),
        ({"esni": True}, False),
        ({"alpn": ["h2"]}, True),
        ({"alpn": ["dot"]}, False),
        ({"ja4": ["t13d1516h2_8daaf6152771_e5627efa2ab1"]}, True),
        ({"ja4": ["t13d1516h2_000000000000_000000000000"]}, False),
        ({"shortest": 5000}, False),
    ],
)
def test_tls(tls: dict[str, Any], hit: bool) -> None:
    name = "edge101.bin"
    assert hits(connected(one_rule({"tls": tls}, DROP)) >> data(browser_hello(name))) is hit


def test_signatures() -> None:
    anywhere = one_rule({"payload": [{"prefix": "de ad", "offset": 2}, {"regex": "x[0-9]{3}y"}]}, DROP)
    assert hits(playbook(anywhere) >> udp(b"..\xde\xad"))
    assert not hits(playbook(anywhere) >> udp(b"\xde\xad.."))
    book = playbook(anywhere) >> udp(b"before x123y after")
    assert evidence(book)["payload"] == {"length": 18, "matched": b"x123y".hex(), "at": 7}


@pytest.mark.parametrize("word", ["法轮", "Привет", "привет"])
def test_words_of_any_script(word: str) -> None:
    """They were compared letter by letter with the bytes of the packet, and never found."""
    post = f"POST /{word} HTTP/1.1\r\nHost: x\r\n\r\nq={word}".encode()
    get = f"GET /{quote(word)}?a=b HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for match, content in (
        ({"http": {"keyword": [word]}}, post), ({"http": {"url": [f"/{word}"]}}, post),
        ({"http": {"url": [word]}}, get), ({"payload": [{"contains": [word]}]}, post),
        ({"payload": [{"regex": f"x?{word}"}]}, post),
    ):  # fmt: skip
        assert hits(connected(one_rule(match, DROP), 80) >> data(content, 80)), match
        assert not hits(connected(one_rule(match, DROP), 80) >> data(b"POST /x HTTP/1.1\r\nHost: x\r\n\r\n", 80))


def test_entropy_and_fully_encrypted() -> None:
    noise = bytes((n * 89 + 7 ^ n >> 3) & 0xFF for n in range(200))
    assert hits(playbook(one_rule({"entropy": {"least": 6}}, DROP)) >> udp(noise))
    assert not hits(playbook(one_rule({"entropy": {"least": 6}}, DROP)) >> udp(b"text " * 40))
    censor = one_rule({"protocol": "tcp", "encrypted": True}, DROP)
    assert hits(connected(censor, 8388) >> data(noise, 8388))
    assert not hits(connected(one_rule({"encrypted": True}, DROP)) >> client_hello("a.com"))


def test_only_the_first_payload_of_the_client_is_judged_for_encryption() -> None:
    noise = bytes((n * 89 + 7 ^ n >> 3) & 0xFF for n in range(200))
    book = connected(one_rule({"encrypted": True}, DROP), 80) >> data(b"GET / HTTP/1.1\r\nHost: b.com\r\n\r\n", 80)
    assert not hits(book >> data(noise, 80, 31))


def test_first_packets_by_size_and_pace() -> None:
    match = {"first_packets": {"sizes": [{"least": 10, "most": 20}, {"least": -50, "most": -30}], "within": "1 s"}}
    book = playbook(one_rule(match, DROP)) >> udp(bytes(15)) >> udp(bytes(40), back=True)
    assert hits(book)
    assert evidence(book)["sizes"] == [15, -40]
    slow = playbook(one_rule(match, DROP)) >> udp(bytes(15)) >> wait(2) >> udp(bytes(40), back=True)
    assert not hits(slow)
    assert not hits(playbook(one_rule(match, DROP)) >> udp(bytes(25)) >> udp(bytes(40), back=True))


def test_looks_like_reads_content_whatever_the_port() -> None:
    initiation = b"\x01\0\0\0" + bytes(range(144))
    censor = one_rule({"looks_like": ["wireguard", "ssh"]}, {"drop": "flow"})
    assert hits(playbook(censor) >> udp(initiation, 443)) or hits(
        playbook(censor) >> udp(b"\x02\0\0\0" + bytes(88), 443, back=True)
    )
    book = connected(one_rule({"looks_like": ["ssh"]}, DROP), 443) >> data(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert evidence(book)["looks_like"] == "ssh"


def test_unknown_protocols_are_told(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "policy: p\ntitle: t\nplacement: in-path\nrules:\n"
        "  - {name: a, match: {looks_like: [wiregard]}, action: {drop: flow}, evidence: {mark: G, source: x}}\n"
    )
    with pytest.raises(InputError, match=r"p\.yaml:5: no protocol `wiregard`.*wireguard"):
        load_policy(path)


def test_quic_by_header_and_by_decrypted_name() -> None:
    initial = (FLOWS / "quic").glob("*.flow")
    assert list(initial), "captured flows are there"
    header = bytes.fromhex("c300000001088394c8f03e515708000044d0") + bytes(1232)
    assert hits(playbook(one_rule({"quic": {"versions": [1]}}, DROP)) >> udp(header, 443))
    assert not hits(playbook(one_rule({"quic": {"versions": [0x6B3343CF]}}, DROP)) >> udp(header, 443))
    long = {"quic": True, "payload": [{"shortest": 1002}]}
    assert hits(playbook(one_rule(long, DROP)) >> udp(header, 443))
    assert not hits(playbook(one_rule(long, DROP)) >> udp(header[:1001], 443))


@pytest.mark.parametrize(
    ("quic", "header", "hit"),
    [
        ({"kinds": ["0rtt"]}, "d000000001", True),
        ({"kinds": ["0rtt"]}, "c000000001", False),
        ({"kinds": ["handshake"]}, "e000000001", True),
        ({"kinds": ["retry"]}, "f000000001", True),
        ({"kinds": ["version-negotiation"]}, "8000000000", True),
        ({"kinds": []}, "e000000001", True),
        ({"kinds": []}, "c0ff00001b", False),
        ({"versions": [0xFF00001B]}, "c0ff00001b", True),
        ({"versions": [0xFF00001B]}, "c0ff00001c", False),
        ({"versions": [0x5A6A7A8A], "kinds": ["handshake"]}, "c05a6a7a8a", True),
        ({"versions": [0xFF00001B]}, "40ff00001b", False),
    ],
)
def test_quic_by_kind_and_version(quic: dict[str, Any], header: str, hit: bool) -> None:
    datagram = bytes.fromhex(header) + b"\x08" + bytes(8) + b"\0" + b"\0\x40\x20" + bytes(32)
    assert hits(playbook(one_rule({"quic": quic}, DROP)) >> udp(datagram, 443)) is hit


def test_versions_without_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="nobody here knows the keys of QUIC version 0xff00001b"):
        one_rule(ANY_TLS, DROP, policy={"parser": {"quic_versions": [1, 0xFF00001B]}})


def test_ports_of_the_packet_itself() -> None:
    censor = one_rule({"protocol": "udp", "source_port_above": True}, DROP)
    assert hits(playbook(censor) >> udp(b"x", dport=443, sport=5000))
    assert not hits(playbook(censor) >> udp(b"x", dport=5000, sport=443))


def test_whose_packets() -> None:
    censor = one_rule({"protocol": "udp", "sender": "server"}, DROP)
    assert not hits(playbook(censor) >> udp(b"x"))
    assert hits(playbook(censor) >> udp(b"x") >> udp(b"y", back=True))


def test_the_number_of_a_data_packet() -> None:
    book = playbook(one_rule({"protocol": "udp", "data_packet": {"least": 2, "most": 2}}, DROP))
    assert [hits(book >> udp(b"x")) for _ in range(3)] == [False, True, False]


def test_time_of_day_over_midnight() -> None:
    censor = one_rule({"protocol": "udp", "clock": {"from": "22:00", "to": "06:00"}}, DROP)
    book = playbook(censor)
    book.now = 1_660_003_200.0 // 86400 * 86400
    seen = []
    for _ in range(4):
        seen.append(hits(book >> udp(b"x")))
        book >> wait(6 * 3600 + 1)
    assert seen == [True, False, False, False]
    book.now += 4 * 3600
    assert hits(book >> udp(b"x"))


def test_countries_and_networks_by_the_shipped_table(tmp_path: Path) -> None:
    path = tmp_path / "geo.yaml"
    path.write_text(
        "policy: geo\ntitle: t\nplacement: in-path\nrules:\n"
        "  - {name: a, match: {countries: [XX]}, action: {drop: packet}, evidence: {mark: G, source: x}}\n"
        "  - {name: b, match: {networks: [13335]}, action: {drop: packet}, evidence: {mark: G, source: x}}\n"
    )
    policy = load_policy(path)
    assert policy.geography is not None
    inside = policy.geography.prefixes(asns=[13335])[0].partition("/")[0]
    packet = IP(src=CLIENT, dst=inside) / UDP(sport=1, dport=2) / b"x"
    book = playbook(Engine(policy, seed=1)) >> Send("to a listed network", packet)
    assert book.last.notes[0].rule == "b"
    assert evidence(book)["asn"] == 13335


def test_lists_of_prefixes(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "bad.txt").write_text("198.19.3.0/24  # a net\n2001:db8:19::/48\n")
    path = tmp_path / "p.yaml"
    path.write_text(
        "policy: p\ntitle: t\nplacement: in-path\nrules:\n"
        "  - {name: a, match: {address_lists: [bad.txt]}, action: {drop: packet}, evidence: {mark: G, source: x}}\n"
    )
    policy = load_policy(path)
    book = playbook(Engine(policy, seed=1)) >> udp(b"x")
    assert evidence(book) == {"address": SERVER, "prefix": "198.19.3.0/24"}
    assert policy.kernel_sets()[0].prefixes == ("198.19.3.0/24", "2001:db8:19::/48")


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"any": [{"ports": [1]}, {"ports": [40001]}]}, True),
        ({"any": [{"ports": [1]}, {"ports": [2]}]}, False),
        ({"all": [{"protocol": "udp"}, {"ports": [40001]}]}, True),
        ({"all": [{"protocol": "udp"}, {"ports": [1]}]}, False),
        ({"protocol": "udp", "not": {"ports": [40001]}}, False),
        ({"protocol": "udp", "unless": [{"ports": [1]}]}, True),
        ({"any": [{"all": [{"protocol": "udp"}, {"not": {"origin": "outside"}}]}]}, True),
    ],
)
def test_combinations(match: dict[str, Any], hit: bool) -> None:
    assert hits(playbook(one_rule(match, DROP)) >> udp(b"x")) is hit


def test_an_allow_list_waits_until_there_is_something_to_judge() -> None:
    censor = one_rule({"protocol": "tcp", "not": {"sni": {"patterns": ["=good.com"]}}}, {"drop": "flow"})
    book = connected(censor)
    assert not hits(book)
    assert not hits(book >> client_hello("good.com"))
    assert hits(
        connected(one_rule({"protocol": "tcp", "not": {"sni": {"patterns": ["=good.com"]}}}, DROP))
        >> client_hello("bad.com")
    )


def test_volume_bans_in_batches() -> None:
    volume = {"over": "10 kB", "window": "day", "batches": ["10:00", "12:00"]}
    book = playbook(one_rule({"volume": volume}, {"ban": {"lasts": "1 d"}}))
    book.now = 1_660_003_200.0 // 86400 * 86400 + 9.5 * 3600
    for _ in range(12):
        assert not hits(book >> udp(bytes(1000)))
    book >> wait(1799) >> udp(b"x")
    assert not hits(book)
    book >> wait(2) >> udp(b"x")
    assert hits(book)
    assert evidence(book)["bytes"] > 10_000


def test_volume_limits_differ_between_addresses_by_the_seed() -> None:
    def limit(address: str) -> int:
        censor = one_rule({"volume": {"over": "10 kB", "up_to": "50 kB"}}, DROP)
        packet = bytes(IP(src=CLIENT, dst=address) / UDP(sport=1, dport=2) / bytes(972))
        book = playbook(censor)
        for number in range(1, 60):
            if censor.receive(packet, Send("", None).side, book.now).verdict is Verdict.DROP:
                return number
        return 0

    limits = {address: limit(address) for address in ("198.19.0.1", "198.19.0.2", "198.19.0.3")}
    assert all(10 <= count <= 51 for count in limits.values())
    assert len(set(limits.values())) > 1
    assert limits["198.19.0.1"] == limit("198.19.0.1")


def test_icmp_is_seen_too() -> None:
    assert hits(playbook(one_rule({"protocol": "icmp"}, DROP)) >> ping())
    assert hits(playbook(one_rule({"protocol": "icmp", "payload": [{"shortest": 50}]}, DROP)) >> ping())


def test_plug_ins_are_off_unless_allowed() -> None:
    spec = {"name": "r", "match": {"plugin": "python:f.py:f"}, "action": DROP, "evidence": EVIDENCE}
    policy = Policy.model_validate({"policy": "p", "title": "t", "placement": "in-path", "rules": [spec]})
    with pytest.raises(InputError, match="plug-ins are off"):
        Engine(policy, seed=1)
    allowed = policy.model_copy(update={"plugins": {"python:f.py:f": lambda sight: {"ttl": sight.ttl}}})
    book = playbook(Engine(allowed, seed=1)) >> udp(b"x")
    assert hits(book) and evidence(book) == {"ttl": 64}


def test_fragments_are_put_together_where_the_censor_does() -> None:
    whole = (
        IP(src=CLIENT, dst=SERVER, id=7)
        / TCP(sport=40000, dport=443, flags="PA", seq=1001, ack=1)
        / hello_bytes("a.com")
    )
    from scapy.layers.inet import fragment

    for keeps in ("ignored", "first-wins"):
        censor = one_rule({"sni": {"patterns": ["=a.com"]}}, DROP, policy={"parser": {"fragments": keeps}})
        book = playbook(censor)
        for piece in fragment(whole, 32):
            book >> Send("fragment", IP(bytes(piece)))
        assert hits(book) is (keeps != "ignored")
