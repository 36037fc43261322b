"""One million concurrent flows in the censor's table: memory a flow, and what happens when the table is full.

The reference, measured in the same run: a plain dictionary that holds the two keys of every flow and nothing else.
"""

from __future__ import annotations

import gc
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from testbed.dpi.decision import Side
from testbed.dpi.engine import Engine
from testbed.dpi.flow import mirrored
from testbed.dpi.policy import load_policy

FLOWS, GOAL_MB = 1_000_000, 700
_SYN = bytearray.fromhex("45000028000100004006000064400101c613030400000000000003e8000000005002200000000000")


def syns(count: int) -> Iterator[bytes]:
    """Yield the SYNs of so many different clients."""
    packet = bytearray(_SYN)
    packet[22:24] = struct.pack("!H", 443)
    for number in range(count):
        packet[12:16] = struct.pack("!I", 0x64400000 + number // 50_000)
        packet[20:22] = struct.pack("!H", 1024 + number % 50_000)
        yield bytes(packet)


def resident_mb() -> float:
    """Return this process's resident memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 1e6


def main() -> None:
    """Print the figures."""
    before = resident_mb()
    keys = {key: True for raw in syns(FLOWS) for key in (raw[12:24], mirrored(raw[12:24]))}
    reference = resident_mb() - before
    del keys
    before = resident_mb()
    engine = Engine(load_policy("tm-2022"), seed=1, most_flows=FLOWS)
    begun = time.perf_counter()
    for raw in syns(FLOWS):
        engine.receive(raw, Side.INSIDE, 1.0)
    took = time.perf_counter() - begun
    used = resident_mb() - before
    print(f"{FLOWS:,} flows  {used:,.0f} MB ({used * 1e6 / FLOWS:.0f} B a flow, goal {GOAL_MB} MB)"
          f"   their keys in a dictionary {reference:,.0f} MB   ratio {used / reference:.2f}")  # fmt: skip
    print(f"new flows      {FLOWS / took:,.0f}/s")
    for raw in syns(FLOWS + 1000):
        engine.receive(raw, Side.INSIDE, 2.0)
    flows = engine.remembers()["flows"]["tcp"]
    print(f"1,000 more     {flows:,} kept, {engine.counters['evicted']:,} thrown out and told")


if __name__ == "__main__":
    main()
