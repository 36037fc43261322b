"""Applies a strategy to packets, one at a time; what is left of each trigger's gas is the only state. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from testbed.tools.geneva import packet as fields
from testbed.tools.geneva.packet import Packet
from testbed.tools.geneva.parse import parse
from testbed.tools.geneva.strategy import Drop, Duplicate, Fragment, Node, Sleep, Strategy, Tamper, Trace, Tree

Direction = Literal["out", "in"]


@dataclass(frozen=True, slots=True)
class Emitted:
    """A packet to be sent, so many seconds from now."""

    raw: bytes
    delay_s: float = 0.0


def apply(strategy: Strategy | str, raw: bytes, *, direction: Direction = "out", seed: int = 0) -> list[bytes]:
    """Return what a fresh strategy makes of one packet, in the order of sending (sleeps are `Play`'s to tell)."""
    return [emitted.raw for emitted in Play(strategy, seed=seed).handle(raw, direction)]


class Play:
    """A strategy being played over the packets of a host. `corrupt` draws from the seed, so a play can be repeated."""

    def __init__(self, strategy: Strategy | str, *, seed: int = 0) -> None:
        self.strategy = parse(strategy) if isinstance(strategy, str) else strategy
        self._seed, self._drawn = seed, 0
        trees = (*self.strategy.outbound, *self.strategy.inbound)
        self._traced: set[int] = set()
        self._gas: dict[int, int | None] = {id(tree): tree.trigger.gas for tree in trees}

    def handle(self, raw: bytes | memoryview, direction: Direction = "out") -> list[Emitted]:
        """Run a packet through every tree whose trigger it fires; through none, it is sent as it is."""
        try:
            original = fields.dissect(raw)
        except ValueError:
            return [Emitted(bytes(raw))]
        forest = self.strategy.outbound if direction == "out" else self.strategy.inbound
        fired = [tree for tree in forest if self._fires(tree, original)]
        if not fired:
            return [Emitted(bytes(raw))]
        found = [sent for tree in fired for sent in self._run(tree.root, original.copy())]
        return [Emitted(bytes(sent), sent.delay_s) for sent in found]

    def _fires(self, tree: Tree, packet: Packet) -> bool:
        trigger, gas = tree.trigger, self._gas[id(tree)]
        if not fields.matches(packet, trigger.proto, trigger.field, trigger.value):
            return False
        if gas is None:
            return True
        if gas < 0:
            self._gas[id(tree)] = gas + 1
            return False
        if trigger.gas is not None and trigger.gas < 0:
            return True  # enough were let by: from here on without end
        self._gas[id(tree)] = max(0, gas - 1)
        return gas > 0

    def _run(self, node: Node | None, packet: Packet) -> Iterator[Packet]:
        if node is None:
            yield packet
            return
        if isinstance(node.action, Trace):
            yield from self._trace(node, node.action, packet)
            return
        for child, part in zip((node.left, node.right), self._act(node, packet), strict=False):
            yield from self._run(child, part)

    def _act(self, node: Node, packet: Packet) -> tuple[Packet, ...]:
        action = node.action
        if isinstance(action, Drop):
            return ()
        if isinstance(action, Duplicate):
            return packet, packet.copy()
        if isinstance(action, Fragment):
            parts = _segments(packet, action) if action.layer == "tcp" else _fragments(packet, action)
            if parts is None:
                return packet, packet.copy()
            return parts if action.in_order else parts[::-1]
        if isinstance(action, Sleep):
            packet.delay_s = action.seconds
        elif isinstance(action, Tamper):
            self._tamper(packet, action)
        return (packet,)

    def _trace(self, node: Node, action: Trace, packet: Packet) -> Iterator[Packet]:
        if not packet.has("IP"):
            yield packet
        elif id(node) not in self._traced:
            self._traced.add(id(node))
            for number, ttl in enumerate(range(action.first, action.last)):
                probe = packet.copy()
                fields.write(probe, "IP", "ttl", ttl)
                probe.delay_s = float(number)
                yield probe

    def _tamper(self, packet: Packet, action: Tamper) -> None:
        if not packet.has(action.proto):
            return
        if action.how == "compress":
            fields.compress(packet)
            return
        if action.how == "corrupt":
            fields.corrupt(packet, action.proto, action.field, self._chance)
        elif action.how == "replace":
            fields.replace(packet, action.proto, action.field, action.value)
        elif (now := fields.read(packet, action.proto, action.field)) is not None:
            fields.write(packet, action.proto, action.field, now + int(action.value))

    def _chance(self, below: int) -> int:
        self._drawn += 1
        return int.from_bytes(hashlib.blake2b(f"{self._seed}/{self._drawn}".encode(), digest_size=8).digest()) % below


def _segments(packet: Packet, action: Fragment) -> tuple[Packet, ...] | None:
    """Cut a TCP packet in two; None without a payload."""
    if packet.transport != "TCP" or not packet.load:
        return None
    size = len(packet.load)
    cut = action.offset if 0 <= action.offset <= size - 1 else size // 2
    first, second = packet.copy(), packet.copy()
    first.load, second.load = packet.load[: cut + action.overlap], packet.load[cut:]
    second.middle[4:8] = ((int.from_bytes(packet.middle[4:8], "big") + cut) % 2**32).to_bytes(4, "big")
    for part in (first, second):
        part.padding = 0  # it is read anew, where zeros are an option that ends the list
        fields.restore_lengths(part)
        fields.restore_checksums(part)
    return first, second


def _fragments(packet: Packet, action: Fragment) -> tuple[Packet, ...] | None:
    """Cut an IPv4 packet in two fragments; None if it has no payload or is too short for it."""
    body = bytes(packet.middle) + packet.load
    if not packet.has("IP") or not packet.load:
        return None
    cut = action.offset * 8
    if action.offset == -1 or cut > len(body) or len(body) <= 8:
        cut = len(body) // 2 // 8 * 8
    if cut == 0 or cut >= len(body):
        return packet.copy(), packet.copy()
    parts = [Packet(bytearray(packet.head), True, "", bytearray(), load) for load in (body[:cut], body[cut:])]
    offset = fields.read(packet, "IP", "frag") or 0
    parts[0].head[6] |= 0x20  # more fragments
    parts[1].head[6:8] = ((int.from_bytes(packet.head[6:8], "big") & 0xE000) | offset + cut // 8).to_bytes(2, "big")
    if len(body) > 2 * cut:
        parts[1].head[6] = 0x40 | parts[1].head[6] & 0x1F  # Geneva joins further fragments to the second, and sets DF
    for part in parts:
        fields.restore_lengths(part)
        fields.restore_checksums(part)
    return parts[0], parts[1]
