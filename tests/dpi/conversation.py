"""A client's connection with a strategy applied to its packets, past a censor: which presets see the forbidden request.

Scapy builds the client's packets, the project's Geneva bends them, the engine judges them. The server answers as a
kernel would to the packets that are valid and reach it.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.packet import Raw

from testbed.dpi.decision import Decision, Side, Verdict
from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy
from testbed.tools.geneva import Play

CLIENT, SERVER = "100.64.1.1", "198.19.3.4"
ISN, PEER_ISN = 1000, 90000
FORBIDDEN = b"ultrasurf"
REQUEST = b"GET /?q=" + FORBIDDEN + b" HTTP/1.1\r\nHost: example.org\r\n\r\n"
EVIDENCE = {"mark": "G", "source": "test"}


def keyword_policy(preset: str | None) -> Policy:
    """A censor with a preset's flaws that resets any connection in which it reads the forbidden word."""
    rule = {
        "name": "keyword", "match": {"protocol": "tcp", "payload": [{"contains": [FORBIDDEN.decode()]}]},
        "action": {"rst": {"to": "both"}}, "evidence": EVIDENCE,
    }  # fmt: skip
    return Policy.model_validate(
        {"policy": "p", "title": "t", "placement": "in-path", "preset": preset, "rules": [rule]}
    )


def client_packets(request: bytes, dport: int = 80, timestamps: bool = False) -> list[bytes]:
    """SYN, ACK and the request of one connection."""
    options: list[Any] = [("NOP", None), ("NOP", None), ("Timestamp", (1000, 2000))] if timestamps else []
    ends = IP(src=CLIENT, dst=SERVER, ttl=64) / TCP(sport=40000, dport=dport, options=options)
    syn, ack, data = ends.copy(), ends.copy(), ends.copy()
    syn[TCP].flags, syn[TCP].seq = "S", ISN
    ack[TCP].flags, ack[TCP].seq, ack[TCP].ack = "A", ISN + 1, PEER_ISN + 1
    data[TCP].flags, data[TCP].seq, data[TCP].ack = "PA", ISN + 1, PEER_ISN + 1
    return [bytes(syn), bytes(ack), bytes(data / Raw(request))]


def server_packet(flags: str, ack: int, dport: int = 80) -> bytes:
    """A segment of the server."""
    seq = PEER_ISN + (0 if "S" in flags else 1)
    return bytes(IP(src=SERVER, dst=CLIENT) / TCP(sport=dport, dport=40000, flags=flags, seq=seq, ack=ack))


def is_censored(
    policy: Policy, strategy: str, request: bytes = REQUEST, dport: int = 80, seed: int = 1, timestamps: bool = False
) -> bool:
    """Say whether the censor interferes with a connection whose client follows a strategy."""
    engine, play = Engine(policy, seed=seed), Play(strategy, seed=seed)
    now, interfered = 1000.0, False

    def judge(raw: bytes, side: Side) -> None:
        nonlocal now, interfered
        now += 0.01
        decision: Decision = engine.receive(raw, side, now)
        interfered |= bool(decision.injections) or decision.verdict is not Verdict.PASS

    answers = [server_packet("SA", ISN + 1, dport), None, server_packet("A", ISN + 1 + len(request), dport)]
    for raw, answer in zip(client_packets(request, dport, timestamps), answers, strict=True):
        for emitted in play.handle(raw):
            judge(emitted.raw, Side.INSIDE)
        if answer is not None:
            judge(answer, Side.OUTSIDE)
    return interfered
