"""What the engine passes at a glance, it passes on the long way too, and remembers the same of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from random import Random

import pytest

from testbed import shipped
from testbed.dpi.decision import Side, Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.flow import Flow
from testbed.dpi.policy import Policy, load_policy
from tests.dpi.playbook import hello_bytes, request_bytes

START = 1_660_000_000.0
NAMES = ("example.org", "twitter.com", "www.facebook.com", "a.example", "wikipedia.org", "torproject.org")
EVIDENCE = {"mark": "G", "source": "test"}
Packet = tuple[bytes, Side, float]


class LongWay(Engine):
    """An engine without short roads."""

    def _is_dull(self, raw: bytes, key: bytes, flow: Flow, now: float) -> bool:
        return False


class Counting(Engine):
    """An engine that counts what it passes at a glance."""

    glances = 0

    def _is_dull(self, raw: bytes, key: bytes, flow: Flow, now: float) -> bool:
        dull = super()._is_dull(raw, key, flow, now)
        self.glances += dull
        return dull


def question(chance: Random) -> bytes:
    labels = chance.choice(NAMES).encode().split(b".")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    counts = chance.choice(((1, 0, 0, 0), (1, 0, 0, 1), (1, 30, 0, 0), (0, 0, 0, 0)))
    flags = chance.choice((0x0100, 0x0100, 0x8180))
    head = struct.pack("!HHHHHH", chance.randrange(65536), flags, *counts)
    whole = head + name + struct.pack("!HH", chance.choice((1, 1, 28, 16)), 1)
    return whole[: chance.choice((len(whole),) * 8 + (15, 0))]


def content(chance: Random) -> bytes:
    name = chance.choice(NAMES)
    return chance.choice((request_bytes(name), hello_bytes(name), chance.randbytes(40), b"\0" * 1200))


def packets(seed: int, count: int) -> Iterator[Packet]:
    """Yield packets of a few flows that come, talk, end and come again, some of them with a wrong length."""
    chance, now = Random(seed), START
    for _ in range(count):
        now += chance.choice((0.0, 0.01, 0.5, 0.5, 400.0 if chance.random() < 0.01 else 2.0))
        proto = chance.choice((6, 6, 17))
        client = bytes([100, 64, 1, chance.randrange(1, 4)]), chance.randrange(40000, 40003)
        server = (
            bytes([198, 19, 3, chance.randrange(1, 4)]),
            chance.choice((53, 53, 443, 80, 3478) if proto == 17 else (443, 80, 53)),
        )
        back = chance.random() < 0.4
        (source, sport), (target, dport) = (server, client) if back else (client, server)
        if proto == 6:
            flags = chance.choice((0x02, 0x12, 0x10, 0x10, 0x10, 0x18, 0x18, 0x18, 0x11, 0x04))
            data = content(chance) if flags == 0x18 and chance.random() < 0.8 else b""
            options = chance.choice((b"", b"\1\1\x08\x0a" + bytes(8)))
            numbers = chance.choice((1000, 1001, 5000)), chance.choice((0, 1001, 9000))
            offset = (20 + len(options)) << 2
            body = struct.pack("!HHIIBBHHH", sport, dport, *numbers, offset, flags, 500, 0, 0) + options + data
        else:
            data = question(chance) if 53 in (sport, dport) else chance.randbytes(30)
            length = 8 + len(data) + chance.choice((0,) * 12 + (-3, 5))
            body = struct.pack("!HHHH", sport, dport, max(0, length), 0) + data
        total = 20 + len(body) + chance.choice((0,) * 12 + (-2, 3))
        fragment = 0x2000 if chance.random() < 0.01 else 0
        head = struct.pack("!BBHHHBBH", 0x45, 0, total, 7, fragment, chance.choice((50, 57, 64)), proto, 0)
        yield (
            head + source + target + body + bytes(chance.choice((0,) * 12 + (6,))),
            Side.OUTSIDE if back else Side.INSIDE,
            now,
        )


def remembered(engine: Engine) -> list[dict[str, object]]:
    """Return what an engine knows of its flows."""
    names = [name for name in Flow.__slots__ if name not in ("candidates", "deep", "fate")]
    return [{name: getattr(flow, name) for name in names} for table in (engine._tcp, engine._udp) for flow in table]


def censor(*rules: dict[str, object], **more: object) -> Policy:
    """Return a policy of nameless rules."""
    named = [{"name": f"rule{i}", "evidence": EVIDENCE, **rule} for i, rule in enumerate(rules)]
    return Policy.model_validate({"policy": "p", "title": "t", "placement": "in-path", "rules": named, **more})


HOST: dict[str, object] = {"match": {"http_host": {"patterns": ["*a*"]}}, "action": {"rst": {"to": "both"}}}
MUTE: dict[str, object] = {"drop": "from-client"}
POLICIES = {
    **{name: load_policy(name) for name in shipped.names("policies")},
    "silences": censor({**HOST, "action": MUTE}, {"match": {"dns": {"patterns": ["*a*"]}}, "action": MUTE}),
    "forgets": censor(HOST, tracking={"opens": ["ack", "syn"], "teardown": {"effect": "forget"}}),
    "verifies": censor(HOST, parser={"verify_ttl": True, "verify_ack": True}),
    "types": censor({"match": {"dns_types": ["AAAA"]}, "action": {"drop": "packet"}}),
}


@pytest.mark.parametrize("name", POLICIES)
def test_the_short_roads_end_where_the_long_way_does(name: str) -> None:
    policy = POLICIES[name]
    glancing, careful = Engine(policy, seed=1), LongWay(policy, seed=1)
    for number, packet in enumerate(packets(seed=len(name), count=1500)):
        assert glancing.receive(*packet) == careful.receive(*packet), (number, packet)
        if number == 1000 and policy.rules:
            for engine in (glancing, careful):
                engine.replace_policy(policy.without(policy.rule_names[0]), packet[2])
    assert glancing.counters == careful.counters
    assert remembered(glancing) == remembered(careful)


def test_a_policy_of_questions_and_names_takes_the_short_roads() -> None:
    engine = Counting(load_policy("tm-2022"), seed=1)
    for packet in packets(seed=1, count=1500):
        engine.receive(*packet)
    assert engine.glances > 100


@pytest.mark.parametrize(
    "match", [{"volume": {"over": "1 MB"}}, {"looks_like": ["wireguard"]}, {"payload": [{"length": 30}]}]
)
def test_a_rule_that_looks_at_more_closes_them_to_dns(match: dict[str, object]) -> None:
    drop = {"drop": "packet"}
    policy = censor({"match": {"dns": {"patterns": ["*a*"]}}, "action": drop}, {"match": match, "action": drop})
    engine = Counting(policy, seed=1)
    for raw, side, now in packets(seed=2, count=500):
        if raw[9] == 17:
            engine.receive(raw, side, now)
    assert engine.glances == 0


def test_a_name_that_continues_in_the_id_is_read_each_time() -> None:
    """RFC 1035 §4.1.4: the pointer leads to the message's first byte; what stands there is another label each time."""
    policy = censor({"match": {"dns": {"patterns": ["=aaaa"]}}, "action": {"drop": "packet"}})
    engine = Engine(policy, seed=1)
    verdicts = []
    for number, ident in enumerate((b"\4b", b"\4b", b"\4a", b"\4b")):
        message = ident + b"aaa\0" + bytes(6) + b"\xc0\0" + b"\0\1\0\1"
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 28 + len(message), 0, 0, 64, 17, 0, b"\x64\x40\1\2", b"\xc6\x12\0\x35"
        )
        raw = head + struct.pack("!HHHH", 4000, 53, 8 + len(message), 0) + message
        verdicts.append(engine.receive(raw, Side.INSIDE, START + number).verdict)
    assert verdicts == [Verdict.PASS, Verdict.PASS, Verdict.DROP, Verdict.PASS]
