"""A live run against the replay of its captures: what the box told, and what the same engine says of the same packets.

What the engine of a box saw is what came *into* the box: frames of the inside capture whose source is inside, and of
the outside capture whose source is outside. All else in either file is what the box sent on, held back, or injected.
Both were stamped by one clock, so laid together by time they are the packets in the order the engine saw them; but for
those that two cores hand over within microseconds: of these the box's own order counts, where it told of both. What
the kernel decided alone, by address and port, is told in sums.
"""

from __future__ import annotations

import heapq
import io
import ipaddress
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from testbed.dpi.engine import Engine
from testbed.dpi.policy import Policy, load_policy
from testbed.middlebox.live import packet_key
from testbed.middlebox.replay import INSIDE, Replay
from testbed.scenario.topology import GROUPS
from testbed.wire import pcap
from tests.live.lab import SEED

Told = Counter[tuple[str, ...]]
_KERNEL = "dropped by the kernel"
_SETTLING_S = 0.1
"""Around a change of policy, which comes in a moment without traffic: what a client that has given up sends once more
may have waited for a box that was busy with the change, or met the kernel's rules of before."""
_CROSSING_S = 0.001
_NETWORKS = [ipaddress.ip_network(prefix) for prefix in INSIDE]


@dataclass(frozen=True)
class Frame:
    """A frame that came into the box."""

    timestamp: float
    linktype: int
    data: bytes


def incoming(folder: Path, box: str = "gateway") -> Iterator[Frame]:
    """Yield what came into a box from both sides, by time."""
    sides = [_from(folder / "work" / f"{box}-{side}.pcap", side == "inside") for side in ("inside", "outside")]
    return heapq.merge(*sides, key=lambda frame: frame.timestamp)


def _from(path: Path, inside: bool) -> Iterator[Frame]:
    with path.open("rb") as source:
        for item in pcap.read(source):
            packet = pcap.strip_link(item.linktype, item.data)
            if packet is not None and packet[0] >> 4 == 4:
                address = ipaddress.ip_address(bytes(packet[12:16]))
                if any(address in network for network in _NETWORKS if network.version == 4) is inside:
                    yield Frame(item.timestamp, item.linktype, item.data)


def compare(folder: Path, policies: Sequence[str], box: str = "gateway") -> tuple[dict[str, Told], dict[str, Told]]:
    """Return what was told live and what is told in the replay, by policy.

    `policies`: those the box was given, in order, after the one it began with.
    """
    lines = (folder / "work" / f"{box}.events.jsonl").read_text().splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    changes = [event["now"] for event in events if event["rule"] == "policy"]
    assert len(changes) == len(policies), "each change of policy was told"
    loaded = {name: load_policy(name, GROUPS) for name in ("open", *policies)}
    steps = list(zip(changes, policies, strict=True))
    settled = _Settled(changes)
    frames = _in_the_box_s_order(list(incoming(folder, box)), events)
    return _live(events, policies, settled), _replayed(frames, steps, loaded, settled)


def _in_the_box_s_order(frames: list[Frame], events: Sequence[dict[str, Any]]) -> list[Frame]:
    """Let two frames change places, and keep the places' times, if the box told of them the other way round."""
    rank = {event["trigger"]["hash"]: number for number, event in enumerate(events)}
    before: tuple[int, int] | None = None
    for at, frame in enumerate(frames):
        packet = pcap.strip_link(frame.linktype, frame.data)
        number = rank.get(packet_key(packet)) if packet is not None else None
        if number is None:
            continue
        if before is not None and before[1] > number and frame.timestamp - frames[before[0]].timestamp < _CROSSING_S:
            other = frames[before[0]]
            frames[before[0]] = replace(frame, timestamp=other.timestamp)
            frames[at] = replace(other, timestamp=frame.timestamp)
            number = before[1]
        before = at, number
    return frames


class _Settled:
    """Whether a moment is away from every change of policy."""

    def __init__(self, changes: Sequence[float]) -> None:
        self._changes = changes

    def __call__(self, moment: float) -> bool:
        return all(abs(moment - change) > _SETTLING_S for change in self._changes)


def _live(events: Sequence[dict[str, Any]], policies: Sequence[str], settled: _Settled) -> dict[str, Told]:
    told: dict[str, Told] = {"open": Counter()}
    waiting, now = list(policies), "open"
    for event in events:
        if event["rule"] == "policy":
            now = Path(waiting.pop(0)).stem
            told.setdefault(now, Counter())
        elif event["reason"] == _KERNEL:
            told[now][event["rule"], _KERNEL] += event["evidence"]["packets"]
        elif event["trigger"]["hash"] and settled(event["now"]):  # no hash: it tells of a connection opened
            told[now][_key(event, event["trigger"]["hash"], event["verdict"], event["injections"])] += 1
    return told


def _key(note: dict[str, Any], packet: str, verdict: str, injections: int) -> tuple[str, ...]:
    evidence = {key: value for key, value in note["evidence"].items() if key not in ("left_s", "within_s")}
    seen = json.dumps(evidence, sort_keys=True)
    return note["rule"], note["flow"], note["reason"], seen, packet, verdict, str(injections)


def _replayed(
    frames: Sequence[Frame], changes: Sequence[tuple[float, str]], loaded: dict[str, Policy], settled: _Settled
) -> dict[str, Told]:
    """Replay the frames with one engine that takes each policy when the box took it."""
    engine = Engine(loaded["open"], seed=SEED)
    told: dict[str, Told] = {"open": Counter()}
    now, at = "open", 0
    for number in range(len(changes) + 1):
        until = changes[number][0] if number < len(changes) else float("inf")
        part = []
        while at < len(frames) and frames[at].timestamp < until:
            part.append(frames[at])
            at += 1
        told.setdefault(now, Counter()).update(_judged(engine, part, settled))
        if number < len(changes):
            engine.replace_policy(loaded[changes[number][1]], until)
            now = Path(changes[number][1]).stem
    return told


def _judged(engine: Engine, frames: Sequence[Frame], settled: _Settled) -> Told:
    capture = io.BytesIO()
    writer = pcap.PcapngWriter(capture, linktype=1)
    for frame in frames:
        writer.write(frame.timestamp, frame.data, comment=None)
    capture.seek(0)
    told: Told = Counter()
    by_kernel = {item.rule for item in engine.policy.kernel_sets()}
    for judged in Replay(engine).run(capture):
        packet = pcap.strip_link(1, frames[judged.frame - 1].data)
        assert packet is not None
        for note in judged.decision.notes:
            if note.rule in by_kernel:
                told[note.rule, _KERNEL] += 1
            elif settled(frames[judged.frame - 1].timestamp):
                decision = judged.decision
                told[_key(note.as_json(), packet_key(packet), decision.verdict.value, len(decision.injections))] += 1
    return told
