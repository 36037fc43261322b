"""The engine against Scapy's dissection of the same packets, in the same run.

Plain data of settled flows (goal 25 times Scapy's rate) and mixed traffic under `tm-2022` (goal 12 times). Run inside a
checkout as `.venv/bin/python bench/engine.py [PACKETS] [--profile]`; the latter adds where the engine's time goes.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Sequence

import scapy.layers.dns
import scapy.layers.inet6
from scapy.layers.inet import IP
from traffic import bulk, packets

from testbed.dpi.decision import Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy

#: what Scapy takes apart below TCP and UDP: without these it would stop at the ports
DISSECTORS = (scapy.layers.dns, scapy.layers.inet6)
_SCAPY_PACKETS = 10_000
_ROUNDS = 5
Packet = tuple[bytes, Side, float]


def sided(raws: Sequence[bytes]) -> list[Packet]:
    """Add side and time, a thousand packets a second."""
    return [
        (raw, Side.INSIDE if raw[12] == 100 else Side.OUTSIDE, 1_660_000_000 + number / 1000)
        for number, raw in enumerate(raws)
    ]


def judge(engine: Engine, traffic: Sequence[Packet]) -> None:
    """Let the engine judge all."""
    receive = engine.receive
    for raw, side, now in traffic:
        receive(raw, side, now)


def seconds_a_packet(warm: Sequence[Packet], traffic: Sequence[Packet]) -> float:
    """Return what a packet costs an engine that has seen `warm` before."""
    engine = Engine(load_policy("tm-2022"), seed=1)
    judge(engine, warm)
    begun = time.perf_counter()
    judge(engine, traffic)
    return (time.perf_counter() - begun) / len(traffic)


def scapy_seconds_a_packet(traffic: Sequence[Packet]) -> float:
    """Return what a packet costs Scapy to take apart, from a sample of all."""
    sample = [raw for raw, _, _ in traffic[:: max(1, len(traffic) // _SCAPY_PACKETS)]]
    begun = time.perf_counter()
    for raw in sample:
        IP(raw)
    return (time.perf_counter() - begun) / len(sample)


def show_profile(warm: Sequence[Packet], traffic: Sequence[Packet]) -> None:
    """Print where the engine's time goes."""
    engine = Engine(load_policy("tm-2022"), seed=1)
    judge(engine, warm)
    with cProfile.Profile() as profiler:
        judge(engine, traffic)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


def main(count: int, profile: bool) -> None:
    """Measure both kinds of traffic, engine and Scapy in turn, and print the ratios."""
    plain = sided(list(bulk(count + 20_000)))
    mixed = sided(list(packets(count)))
    for name, warm, traffic, goal in (
        ("settled flows", plain[:20_000], plain[20_000:], 25),
        ("tm-2022, mixed", [], mixed, 12),
    ):
        pairs = [(seconds_a_packet(warm, traffic), scapy_seconds_a_packet(traffic)) for _ in range(_ROUNDS)]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{name:15} engine {1 / ours:9,.0f} packets/s ({ours * 1e6:.2f} µs)   scapy {1 / theirs:7,.0f} packets/s   "
            f"ratio {theirs / ours:.1f} (goal {goal})"
        )
        if profile:
            show_profile(warm, traffic)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    main(numbers[0] if numbers else 200_000, "--profile" in sys.argv)
