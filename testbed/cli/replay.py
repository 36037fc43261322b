"""`testbed replay`: a capture through a policy; decisions as JSON lines, injected packets as pcapng."""

from __future__ import annotations

import gzip
import ipaddress
import json
import sys
import time
import zlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import click

from testbed.cli.live import allow_plugins
from testbed.cli.words import POLICY
from testbed.dpi.engine import Engine
from testbed.errors import InputError, MachineError, Problem
from testbed.middlebox.plugins import load_allowed
from testbed.middlebox.replay import INSIDE, Judged, Replay
from testbed.scenario.topology import GROUPS
from testbed.wire.pcap import PcapngWriter

UNPARSED = "unparsed"


@click.command("replay", short_help="A capture through a policy, no privileges.")
@click.argument("pcap", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--policy", "policy_name", type=POLICY, required=True, metavar="P",
              help="A policy's name or file.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="What the censor's chances are drawn from.")
@click.option("--inside", multiple=True, metavar="PREFIX", help=f"What is inside; default {', '.join(INSIDE)}.")
@click.option("--injected", type=click.Path(path_type=Path), help="Write the packets the censor would send there.")
@allow_plugins
@click.option("--json", "as_json", is_flag=True, help="The summary on standard error as JSON, too.")
def command(
    pcap: Path, policy_name: str, seed: int, inside: tuple[str, ...], injected: Path | None, plugins: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Replay PCAP (pcap or pcapng, also gzipped; - for standard input) and print each decision as a JSON line."""
    engine = Engine(load_allowed(policy_name, GROUPS, plugins=plugins), seed=seed)
    replay = Replay(engine, _prefixes(inside) or INSIDE)
    told = _Told(sys.stdout, flush=str(pcap) == "-")
    begun = time.perf_counter()
    with ExitStack() as files:
        source = _open(pcap, files)
        if injected is not None:
            if injected.exists() and str(pcap) != "-" and injected.samefile(pcap):
                raise InputError([Problem("--injected", "this is the capture itself", "name another file")])
            told.writer = PcapngWriter(_create(injected, files))
        try:
            for judged in replay.run(source):
                told.tell(judged)
        except ValueError as error:
            mend = "give a whole pcap or pcapng file (editcap turns other formats into one)"
            raise InputError([Problem(str(pcap), str(error), mend)]) from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError([Problem(str(pcap), f"a damaged gzip file: {error}", "unpack it by hand")]) from None
    sys.stdout.flush()
    summary = _summary(replay, engine, told, time.perf_counter() - begun)
    print(json.dumps(summary) if as_json else _text(summary), file=sys.stderr)
    for warning in _warnings(replay, told, inside or INSIDE):
        print(f"{pcap}: {warning}", file=sys.stderr)
    return 0


def _prefixes(inside: tuple[str, ...]) -> tuple[str, ...]:
    problems = []
    for prefix in inside:
        try:
            ipaddress.ip_network(prefix, strict=False)
        except ValueError:
            problems.append(Problem("--inside", f"{prefix!r} is no prefix", "write one like 192.168.0.0/16"))
    if problems:
        raise InputError(problems)
    return inside


def _open(path: Path, files: ExitStack) -> BinaryIO:
    """Open a capture, unpacking it if it is gzipped; show on a terminal how far it is read."""
    if str(path) == "-":
        source = cast(BufferedReader, sys.stdin.buffer)
    else:
        try:
            source = files.enter_context(path.open("rb"))
        except OSError as error:
            raise InputError([Problem(str(path), f"can't be read: {error.strerror}", "name a capture")]) from None
    packed = source.peek(2)[:2] == b"\x1f\x8b"
    on_terminal = path.is_file() and sys.stderr.isatty() and not sys.stdout.isatty()
    watched = _watched(source, path, files) if on_terminal else source
    return cast(BinaryIO, files.enter_context(gzip.GzipFile(fileobj=watched))) if packed else watched


def _watched(source: BinaryIO, path: Path, files: ExitStack) -> BinaryIO:
    from rich.console import Console  # a tenth of a second that most calls can do without
    from rich.progress import Progress

    bar = files.enter_context(Progress(console=Console(stderr=True), transient=True))
    return bar.wrap_file(source, total=path.stat().st_size, description=path.name)


def _create(path: Path, files: ExitStack) -> BinaryIO:
    try:
        return files.enter_context(path.open("wb"))
    except OSError as error:
        problem = Problem(str(path), f"can't be written: {error.strerror}", "name a file in a directory that is there")
        raise InputError([problem]) from None


@dataclass
class _Told:
    """Writes what the censor decides, and counts it."""

    lines: TextIO
    flush: bool
    writer: PcapngWriter | None = None
    by_rule: Counter[str] = field(default_factory=Counter)
    injected: int = 0
    probes: int = 0
    intercepts: int = 0

    def tell(self, judged: Judged) -> None:
        decision = judged.decision
        for note in decision.notes:
            self.by_rule[note.rule] += 1
            line = {"frame": judged.frame, "now": judged.timestamp, "verdict": decision.verdict.value}
            line |= note.as_json() | {"injections": len(decision.injections)}
            if judged.cut:
                line["cut"] = True
            self.lines.write(json.dumps(line, sort_keys=True) + "\n")
        self.injected += len(decision.injections)
        self.probes += len(decision.probes)
        self.intercepts += decision.intercept is not None
        if self.flush:
            self.lines.flush()
        if self.writer is not None:
            self._write(self.writer, judged)

    def _write(self, writer: PcapngWriter, judged: Judged) -> None:
        try:
            for injection in judged.decision.injections:
                comment = f"for frame {judged.frame}, toward {injection.toward.value}"
                writer.write(judged.timestamp + injection.after_s, injection.raw, comment)
        except OSError as error:
            raise MachineError(
                f"--injected can't be written: {error.strerror}", "make room, or write elsewhere"
            ) from None


def _summary(replay: Replay, engine: Engine, told: _Told, seconds: float) -> dict[str, Any]:
    decisions = {rule: count for rule, count in sorted(told.by_rule.items()) if rule != UNPARSED}
    return {
        "frames": replay.frames,
        "skipped": replay.skipped,
        "cut": replay.cut,
        "mended": replay.mended,
        "unparsed": engine.counters["unparsed"],
        "from_inside": replay.inside,
        "flows": engine.remembers()["flows"],
        "decisions": decisions,
        "dropped": engine.counters["dropped"],
        "injected": told.injected,
        "first": replay.first,
        "last": replay.last,
        "ends_early": replay.ends_early,
        "seconds": round(seconds, 3),
        "packets_per_s": round(replay.frames / seconds),
    }


def _text(summary: dict[str, Any]) -> str:
    rules = ", ".join(f"{rule} {count}" for rule, count in summary["decisions"].items()) or "no decision"
    asides = f"{summary['skipped']} without IP"
    asides += "".join(f", {summary[key]} {key}" for key in ("unparsed", "cut", "mended") if summary[key])
    span = f" over {summary['last'] - summary['first']:.1f} s" if summary["first"] is not None else ""
    flows = f", {sum(summary['flows'].values())} flows"
    sent = f"{summary['injected']} injected, {summary['dropped']} dropped"
    speed = f"{summary['seconds']:.1f} s, {summary['packets_per_s']:,} packets/s"
    return f"{summary['frames']} frames ({asides}){span}{flows}: {rules}; {sent}; {speed}"


def _warnings(replay: Replay, told: _Told, inside: tuple[str, ...]) -> list[str]:
    """Return what the user should know before trusting the answer."""
    found = []
    if replay.frames > replay.skipped and not replay.inside:
        found.append(f"no packet comes from inside ({', '.join(inside)}); name the clients' network with --inside")
    if replay.unread_types:
        types = ", ".join(map(str, sorted(replay.unread_types)))
        found.append(f"frames of link type {types} are not read; capture on Ethernet, or with tcpdump -i any")
    if replay.ends_early:
        found.append(f"the file ends inside a packet, behind frame {replay.frames}; the rest of it is missing")
    if replay.back:
        found.append(f"{replay.back} frames are older than one before them; sort the file with reordercap")
    if told.probes:
        found.append(
            f"the censor wanted {told.probes} probes made; offline nobody makes them, so no probe leads to a ban"
        )
    if told.intercepts:
        found.append(
            f"the censor wanted to open {told.intercepts} TLS connections; a capture can't show what then comes"
        )
    return found
