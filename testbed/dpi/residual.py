"""Residual blocks: for a time after a rule fired, later packets are answered too, whatever they carry.

Measured in the country: 30 s on the 4-tuple, any packet in the window draws another RST (facts §1). A packet that is
itself a reset draws none, or client and censor would answer each other for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.dpi.flow import Endpoint
from testbed.dpi.policy import Residual, Rule

ResidualKey = tuple[int, bytes, int, bytes, int]
_SWEEP_EVERY = 1024


@dataclass(slots=True)
class Block:
    """A running residual block."""

    rule: Rule
    until: float


def residual_key(kind: str, proto: int, client: Endpoint, server: Endpoint) -> ResidualKey:
    """Return what a block is remembered by; 0 stands for any port. A 4-tuple hits both directions."""
    if kind == "4-tuple":
        first, second = (client, server) if client <= server else (server, client)
        return proto, *first, *second
    return proto, client[0], 0, server[0], server[1] if kind == "3-tuple" else 0


class ResidualBlocks:
    """All running blocks, by key."""

    def __init__(self) -> None:
        self._blocks: dict[ResidualKey, Block] = {}
        self._kinds: set[str] = set()
        self._armed = 0

    def arm(self, rule: Rule, proto: int, client: Endpoint, server: Endpoint, now: float) -> None:
        """Start a rule's block for a flow."""
        spec = rule.residual
        assert spec is not None
        self._kinds.add(spec.key)
        self._blocks[residual_key(spec.key, proto, client, server)] = Block(rule, now + spec.lasts)
        self._armed += 1
        if self._armed % _SWEEP_EVERY == 0:
            self._blocks = {key: block for key, block in self._blocks.items() if block.until > now}

    def find(self, proto: int, src: Endpoint, dst: Endpoint, now: float) -> Block | None:
        """Return the block that a packet falls into, its time renewed if its rule says so."""
        for kind in self._kinds:
            for client, server in ((src, dst), (dst, src)):
                block = self._blocks.get(residual_key(kind, proto, client, server))
                if block is not None and now < block.until:
                    spec: Residual | None = block.rule.residual
                    if spec is not None and spec.refresh:
                        block.until = now + spec.lasts
                    return block
                if kind == "4-tuple":
                    break
        return None

    def forget(self, keep: set[str]) -> None:
        """Drop the blocks of rules that are gone."""
        self._blocks = {key: block for key, block in self._blocks.items() if block.rule.name in keep}

    def __len__(self) -> int:
        return len(self._blocks)
