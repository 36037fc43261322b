"""Replay: `testbed replay` under `tm-2022` against `tshark -T fields` on the same mixed capture, in the same run.

Prints packets a second of both and their ratio (goal 2.5), then where replay's time goes. Run inside a checkout as
`.venv/bin/python bench/replay.py [PACKETS]`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from traffic import write

from testbed.dpi.decision import Side
from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.middlebox.replay import Replay
from testbed.wire import ip, pcap, tcp
from testbed.wire.framing import packet_offset

GOAL = 2.5
_ROUNDS = 2
_FIELDS = ("dns.qry.name", "http.host", "tls.handshake.extensions_server_name")


def seconds(work: Callable[[], object]) -> float:
    """Return how long work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ran(argv: list[str], output: Path) -> Callable[[], object]:
    """Return a run of a command, its output in a file."""

    def run() -> None:
        with output.open("wb") as target:
            subprocess.run(argv, check=True, stdout=target, stderr=subprocess.DEVNULL)

    return run


def read_only(path: Path) -> None:
    """Read the capture and do nothing."""
    with path.open("rb") as source:
        for _ in pcap.Reader(source):
            pass


def parse_only(path: Path) -> None:
    """Read it and take IP and TCP headers apart."""
    with path.open("rb") as source:
        for record in pcap.Reader(source):
            start = packet_offset(record.linktype, record.data)
            if start is not None:
                packet = ip.parse(record.data[start:])
                if packet.proto == ip.TCP:
                    tcp.parse(packet.payload)


class _Silent:
    """An engine that does nothing: what is left is the adapter."""

    def receive(self, raw: bytes, side: Side, now: float) -> object:
        return _NOTHING

    def next_timer(self) -> None:
        return None


class _Nothing:
    notes = injections = ()


_NOTHING = _Nothing()


def adapt_only(path: Path) -> None:
    """The adapter without an engine."""
    with path.open("rb") as source:
        for _ in Replay(_Silent()).run(source):  # type: ignore[arg-type]
            pass


def judge(path: Path) -> None:
    """The adapter with the engine, decisions not written."""
    with path.open("rb") as source:
        for _ in Replay(Engine(load_policy("tm-2022"), seed=1)).run(source):
            pass


def main(count: int) -> None:
    """Make the capture, measure, print."""
    with tempfile.TemporaryDirectory() as directory:
        path, out = Path(directory) / "mixed.pcap", Path(directory) / "out"
        made = seconds(lambda: write(path, count))
        print(f"{count:,} packets, {path.stat().st_size / 1e6:.0f} MB, made in {made:.1f} s")
        stages = {"reading": read_only, "and headers": parse_only, "adapter, no engine": adapt_only, "engine": judge}
        for name, work in stages.items():
            taken = min(seconds(lambda work=work: work(path)) for _ in range(_ROUNDS))  # type: ignore[misc]
            print(f"  {name:20} {count / taken:11,.0f} packets/s   {taken / count * 1e6:6.2f} µs a packet")
        replay = [sys.executable, "-m", "testbed.cli.main", "replay", str(path), "--policy", "tm-2022"]
        fields = [part for field in _FIELDS for part in ("-e", field)]
        pairs = [
            (
                seconds(ran(replay, out)),
                seconds(ran(["tshark", "-n", "-r", str(path), "-T", "fields", *fields], out)),
            )
            for _ in range(_ROUNDS)
        ]
        ours, theirs = (min(column) for column in zip(*pairs, strict=True))
        print(f"testbed replay {count / ours:,.0f} packets/s ({ours:.1f} s), start-up included")
        print(f"tshark         {count / theirs:,.0f} packets/s ({theirs:.1f} s)")
        print(f"ratio {theirs / ours:.2f} (goal {GOAL})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
