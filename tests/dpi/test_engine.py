"""The engine whatever the bytes; actions and knobs that `tm-2022` doesn't use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from testbed.dpi.decision import Offload, Side, Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.one_rule import ANY_TLS, udp
from tests.dpi.one_rule import one_rule as engine
from tests.dpi.playbook import (
    CLIENT,
    INSIDE,
    ISN,
    OUTSIDE,
    PEER_ISN,
    SERVER,
    Playbook,
    Send,
    ack,
    answer,
    between,
    client_hello,
    data,
    datagram,
    datagram_back,
    dropped,
    from_server,
    hello_bytes,
    playbook,
    query,
    reset,
    segment,
    silence,
    syn,
    syn_ack,
)

GROUPS = {"cloudflare": ["198.18.128.0/20"], "hosting": ["198.18.144.0/20"]}


def connected(book: Playbook) -> Playbook:
    return book >> syn() >> syn_ack() >> ack()


OFFENCE = bytes(client_hello("twitter.com").packet)
QUESTION = bytes(query("twitter.com").packet)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.builds(
    lambda base, at, junk: base[:at] + junk + base[at + len(junk):],
    st.sampled_from([OFFENCE, QUESTION]), st.integers(0, 150), st.binary(max_size=12))))  # fmt: skip
def test_hostile_bytes_never_raise(raw: bytes) -> None:
    for name in ("tm-2022", "tm-2018-imo-media"):
        Engine(POLICIES[name], seed=1).receive(raw, Side.INSIDE, 1.0)


POLICIES = {name: load_policy(name) for name in ("tm-2022", "tm-2018-imo-media")}


def test_same_seed_same_bytes() -> None:
    packets = [bytes(s.packet) for s in (syn(), ack(), client_hello("twitter.com"), query("twitter.com"), ack())]
    runs = []
    for _ in range(2):
        censor = Engine(POLICIES["tm-2022"], seed=5)
        runs.append([censor.receive(raw, INSIDE, float(at)) for at, raw in enumerate(packets)])
    assert runs[0] == runs[1]


def test_chance_is_a_share_of_connections() -> None:
    censor = engine({"sni": {"patterns": ["=a.com"]}}, {"rst": {}}, probability="25 %")
    hits = 0
    for port in range(10000, 11000):
        packet = IP(src=CLIENT, dst=SERVER) / TCP(sport=port, dport=443, flags="PA") / hello_bytes("a.com")
        hits += len(censor.receive(bytes(packet), INSIDE, 1.0).injections)
    assert 200 < hits < 300


@pytest.mark.parametrize("content", [b"\x09\x02" + bytes(8), b"\0\x09\x03" + bytes(8), b"\x88\x49\x1a\0" + bytes(1095)])
def test_imo_calls_die_and_stay_dead(content: bytes) -> None:
    book = playbook(Engine(load_policy("tm-2018-imo-calls"), seed=1))
    book >> udp(content) << dropped()
    book >> udp(b"anything later") << dropped()
    book >> udp(b"another flow", 40002) << silence()


def test_imo_media_stalls_and_chat_does_not() -> None:
    censor = Engine(POLICIES["tm-2018-imo-media"], seed=1)
    connected(playbook(censor)) >> client_hello("photos.media.imo.im") << dropped()
    censor = Engine(POLICIES["tm-2018-imo-media"], seed=1)
    connected(playbook(censor)) >> client_hello("chat.imo.im") << silence()


def test_listed_addresses_draw_a_reset_after_the_handshake() -> None:
    censor = Engine(load_policy("tm-2023-08", GROUPS), seed=1)
    first = IP(src=CLIENT, dst="198.18.128.9") / TCP(sport=1, dport=443, flags="S", seq=1)
    second = IP(src="198.18.128.9", dst=CLIENT) / TCP(sport=443, dport=1, flags="SA", seq=8, ack=2)
    third = IP(src=CLIENT, dst="198.18.128.9") / TCP(sport=1, dport=443, flags="A", seq=2, ack=9)
    book = playbook(censor) >> Send("SYN", first) << silence()
    book >> Send("SYN+ACK", second, OUTSIDE) << silence()
    book >> Send("ACK", third) << reset(INSIDE)


def test_groups_the_scenario_lacks_hit_nothing() -> None:
    connected(playbook(Engine(load_policy("tm-2023-08"), seed=1))) << silence()


def test_shutdown_drops_everything() -> None:
    policy = load_policy("tm-shutdown")
    playbook(Engine(policy, seed=1)) >> syn() << dropped()
    assert [item.rule for item in policy.kernel_sets()] == ["everything"]


def test_reset_to_both_ends() -> None:
    book = connected(playbook(engine({"sni": {"patterns": ["=a.com"]}}, {"rst": {"to": "both", "flags": "RA"}})))
    book >> client_hello("a.com")
    assert {item.toward for item in book.last.injections} == {INSIDE, OUTSIDE}


def test_policing_drops_what_exceeds_the_rate() -> None:
    censor = engine({"sni": {"patterns": ["=a.com"]}}, {"throttle": {"rate": "128 kbit/s", "burst": "2 kB"}})
    book = connected(playbook(censor)) >> client_hello("a.com")
    verdicts = [(book >> data(bytes(1000))).last.verdict for _ in range(4)]
    assert verdicts[0] is Verdict.PASS
    assert verdicts[-1] is Verdict.THROTTLE


def test_offload_waits_for_data_and_never_under_wide_blocks() -> None:
    def last_offload(key: str) -> Offload:
        censor = engine({"sni": {"patterns": ["=a.com"]}}, {"rst": {}}, residual={"lasts": "9 s", "key": key})
        book = connected(playbook(censor))
        assert book.last.offload is Offload.NONE
        for _ in range(17):
            book >> data(b"innocent")
        return book.last.offload

    assert last_offload("4-tuple") is Offload.PASS
    assert last_offload("3-tuple") is Offload.NONE


def test_flow_table_is_bounded_and_says_so() -> None:
    censor = Engine(POLICIES["tm-2022"], seed=1, most_flows=10)
    for port in range(50):
        censor.receive(bytes(udp(b"x", 1000 + port).packet), INSIDE, 1.0)
    assert censor.counters["evicted"] == 40


def test_replaced_policy_acts_from_the_next_packet() -> None:
    censor = Engine(POLICIES["tm-2022"], seed=1)
    book = connected(playbook(censor)) >> client_hello("twitter.com") << reset(INSIDE)
    censor.replace_policy(load_policy("open"), book.now)
    book >> client_hello("twitter.com") << silence()


def test_a_datagram_between_the_same_ports_is_a_flow_s_first_again_once_flows_are_forgotten() -> None:
    """IKE speaks from port 500 to port 500: under the next policy its first packet was long ago."""
    censor = Engine(load_policy("open"), seed=1)
    packet = bytes(udp(b"x" * 300, 500, 500).packet)
    assert censor.receive(packet, INSIDE, 1.0).verdict.value == "pass"
    censor.replace_policy(load_policy("allow-list"), 2.0)
    assert censor.receive(packet, INSIDE, 2.0).verdict.value == "pass", "it was there before the policy"
    censor.forget_flows()
    assert censor.receive(packet, INSIDE, 3.0).verdict.value == "drop"


@pytest.mark.parametrize(("name", "ends"), [("own", False), ("another", True)])
def test_another_policy_s_rule_is_another_whatever_its_name(name: str, ends: bool) -> None:
    """China's `http-host` silenced a host for 90 s, and Henan's, of the same name, went on with it."""

    def censor_policy(name: str, blocked: str) -> Policy:
        rule = {
            "name": "tls-sni", "match": {"sni": {"patterns": [blocked]}}, "action": {"drop": "flow"},
            "residual": {"lasts": "90 s", "key": "3-tuple", "reaction": "drop"},
            "evidence": {"mark": "G", "source": "test"},
        }  # fmt: skip
        return Policy.model_validate({"policy": name, "title": "t", "placement": "in-path", "rules": [rule]})

    censor = Engine(censor_policy("own", "=a.com"), seed=1)
    book = connected(playbook(censor)) >> client_hello("a.com")
    assert book.last.verdict.value == "drop"
    censor.replace_policy(censor_policy(name, "=b.com"), book.now)
    book >> data(b"more of the flow")
    assert (book.last.verdict.value == "pass") is ends
    assert bool(censor.remembers()["blocks"]) is not ends


def one_policy(action: dict[str, Any], **rule: Any) -> Policy:
    whole = {"name": "r", "match": {"sni": {"patterns": ["=a.com"]}}, "action": action, **rule}
    whole["evidence"] = {"mark": "G", "source": "test"}
    return Policy.model_validate({"policy": "p", "title": "t", "placement": "in-path", "rules": [whole]})


def test_what_a_changed_rule_began_goes_on_as_it_says_now() -> None:
    def throttled(rate: str) -> Policy:
        return one_policy({"throttle": {"rate": rate, "burst": "2 kB", "mode": "shape"}})

    censor = Engine(throttled("800 kbit/s"), seed=1)
    book = connected(playbook(censor)) >> client_hello("a.com") >> data(bytes(1800)) >> data(bytes(960))
    fast = (book.last.until or 0) - book.now
    censor.replace_policy(throttled("80 kbit/s"), book.now)
    book >> data(bytes(960))
    assert (book.last.until or 0) - book.now > 5 * fast
    for _ in range(10):
        book >> data(bytes(960))
    queued = (book.last.until or 0) - book.now
    censor.replace_policy(throttled("8 kbit/s"), book.now)
    book >> data(bytes(960))
    assert (book.last.until or 0) - book.now < queued + 1.1, "what waits is not waited for twice"
    censor.replace_policy(one_policy({"watch": True}), book.now)
    book >> data(bytes(960)) << silence()
    assert book.last.verdict is Verdict.PASS


def test_a_rule_that_leaves_no_block_any_more_has_none() -> None:
    residual = {"lasts": "90 s", "key": "3-tuple", "reaction": "drop"}
    censor = Engine(one_policy({"drop": "packet"}, residual=residual), seed=1)
    book = connected(playbook(censor)) >> client_hello("a.com") >> data(b"more") << dropped()
    censor.replace_policy(one_policy({"drop": "packet"}), book.now)
    book >> data(b"more still") << silence()


def test_a_block_that_resets_leaves_datagrams_to_the_rules() -> None:
    """A block on two hosts let every question between them pass unread for its time."""
    rules = [
        {"name": "tls", "match": {"sni": {"patterns": ["=a.com"]}}, "action": {"rst": {}},
         "residual": {"lasts": "90 s", "key": "2-tuple"}},
        {"name": "dns", "match": {"dns": {"patterns": ["=a.com"]}}, "action": {"dns_answer": {}}},
    ]  # fmt: skip
    whole = [{**rule, "evidence": {"mark": "G", "source": "test"}} for rule in rules]
    policy = Policy.model_validate({"policy": "p", "title": "t", "rules": whole})
    book = connected(playbook(Engine(policy, seed=1))) >> client_hello("a.com") << reset(INSIDE)
    book >> query("a.com") << answer()


def test_a_bucket_of_a_host_is_that_of_the_inside_host() -> None:
    censor = engine(
        {"sni": {"patterns": ["=a.com"]}}, {"throttle": {"rate": "8 kbit/s", "burst": "2 kB", "key": "host"}}
    )
    book = playbook(censor)
    for outside in ("198.18.0.71", "198.18.0.72"):
        ends: dict[str, Any] = {"client": outside, "server": "100.64.9.9", "from_outside": True}
        for step in (syn(), syn_ack(), ack(), client_hello("a.com"), data(bytes(1300))):
            book >> between(step, **ends)
    assert book.last.verdict is Verdict.THROTTLE


def test_injected_packets_are_what_scapy_would_build() -> None:
    address = {4: (IP, CLIENT, SERVER), 6: (IPv6, "2001:db8:64::1:1", "2001:db8:19::1")}
    for layer, source, target in address.values():
        offence = TCP(sport=7, dport=443, flags="PA", seq=3, ack=9) / hello_bytes("a.com")
        packet = layer(src=source, dst=target) / offence
        decision = engine({"sni": {"patterns": ["=a.com"]}}, {"rst": {}}).receive(bytes(packet), INSIDE, 1.0)
        fields = {"ttl": 64, "id": 0} if layer is IP else {"hlim": 64}
        wanted = layer(src=target, dst=source, **fields) / TCP(sport=443, dport=7, flags="R", seq=9, window=0)
        assert decision.injections[0].raw == bytes(wanted)


def test_a_share_of_inside_hosts_is_the_same_whoever_opens_the_flow() -> None:
    censor = engine(ANY_TLS, {"rst": {}}, probability="40 %", drawn_per="client")
    shares: list[set[str]] = [set(), set()]
    for host in (f"100.64.5.{number}" for number in range(200)):
        for seen, (source, target, side) in zip(
            shares, ((host, SERVER, INSIDE), (SERVER, host, OUTSIDE)), strict=True
        ):  # fmt: skip
            packet = IP(src=source, dst=target) / TCP(sport=40000, dport=443, flags="PA") / hello_bytes("a.com")
            if censor.receive(bytes(packet), side, 1.0).injections:
                seen.add(host)
    assert shares[0] == shares[1]
    assert 50 < len(shares[0]) < 110


def test_a_block_by_address_is_no_connection_to_forget() -> None:
    """The kernel, which drops for such rules, follows none; offline a client's RST opened what was shut."""
    book = playbook(engine({"protocol": "tcp", "addresses": [SERVER]}, {"drop": "packet"}))
    for step in (segment("R", ISN, 0), syn(), syn_ack(), ack(), data(b"x")):
        book >> step << dropped()


def test_a_rule_that_says_what_makes_it_forget_does() -> None:
    censor = engine({"protocol": "tcp", "addresses": [SERVER]}, {"drop": "packet"}, teardown="any")
    playbook(censor) >> segment("R", ISN, 0) >> syn() << silence()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_the_other_end_s_first_packet_is_judged_however_late_it_comes(protocol: str) -> None:
    book = playbook(engine({"protocol": protocol, "sender": "server", "ports": [443]}, {"drop": "packet"}))
    for number in range(40):
        book >> (data(b"x", offset=number) if protocol == "tcp" else datagram(b"x")) << silence()
    book >> (from_server("A", PEER_ISN + 1, ISN + 41) if protocol == "tcp" else datagram_back(b"y")) << dropped()
