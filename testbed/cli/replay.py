"""`testbed replay`: a capture through a policy; decisions as JSON lines, injected packets as pcapng."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import click

from testbed.dpi.engine import Engine
from testbed.dpi.policy import load_policy
from testbed.errors import InputError, Problem
from testbed.middlebox.replay import INSIDE, Replay
from testbed.scenario.topology import GROUPS
from testbed.wire.pcap import PcapngWriter


@click.command("replay", short_help="A capture through a policy, no privileges.")
@click.argument("pcap", type=click.Path(path_type=Path))
@click.option("--policy", "policy_name", required=True, metavar="P", help="A policy's name or file.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--inside", multiple=True, metavar="PREFIX", help=f"What is inside; default {', '.join(INSIDE)}.")
@click.option("--injected", type=click.Path(path_type=Path), help="Write the packets the censor would send there.")
@click.option("--json", "as_json", is_flag=True, help="The summary on standard error as JSON, too.")
def command(
    pcap: Path, policy_name: str, seed: int, inside: tuple[str, ...], injected: Path | None, as_json: bool
) -> int:
    """Replay PCAP (pcap or pcapng) and print each decision as a JSON line with its frame number."""
    policy = load_policy(policy_name, GROUPS)
    replay = Replay(Engine(policy, seed=seed), inside or INSIDE)
    by_rule: Counter[str] = Counter()
    sent = 0
    with ExitStack() as files:
        try:
            source = files.enter_context(pcap.open("rb"))
        except OSError as error:
            raise InputError([Problem(str(pcap), f"can't be read: {error.strerror}", "name a capture")]) from None
        writer = PcapngWriter(files.enter_context(injected.open("wb"))) if injected else None
        try:
            for judged in replay.run(source):
                for note in judged.decision.notes:
                    by_rule[note.rule] += 1
                    line = {"frame": judged.frame, "now": judged.timestamp, "verdict": judged.decision.verdict.value}
                    line |= note.as_json() | {"injections": len(judged.decision.injections)}
                    print(json.dumps(line, sort_keys=True))
                for injection in judged.decision.injections:
                    sent += 1
                    if writer is not None:
                        comment = f"for frame {judged.frame}, toward {injection.toward.value}"
                        writer.write(judged.timestamp + injection.after_s, injection.raw, comment)
        except ValueError as error:
            raise InputError([Problem(str(pcap), str(error), "give a pcap or pcapng file")]) from None
    summary = {"frames": replay.frames, "skipped": replay.skipped, "decisions": dict(by_rule), "injected": sent}
    if as_json:
        print(json.dumps(summary), file=sys.stderr)
    else:
        rules = ", ".join(f"{rule} {count}" for rule, count in sorted(by_rule.items())) or "no decision"
        print(f"{replay.frames} frames ({replay.skipped} without IP): {rules}; {sent} injected", file=sys.stderr)
    return 0
