"""Residual blocks: for a time after a rule fired, later packets are answered or dropped too, whatever they carry.

Measured in the country: 30 s on the 4-tuple, any packet in the window draws another RST (facts/turkmenistan.md §1). A
packet that is itself a reset draws none, or client and censor would answer each other for ever.

A block moves by this table:

    now              rule fires         packet it covers           time is up
    none             running            -                          -
    running          running, renewed   answered; renewed if       none
                                        `refresh`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from testbed.dpi.action import Residual
from testbed.dpi.flow import mirrored
from testbed.dpi.rule import Rule

_SWEEP_EVERY = 1024


@dataclass(slots=True)
class Block:
    """A running block: the rule that left it, when it ends, and the key of the client's packets."""

    rule: Rule
    spec: Residual
    until: float
    lasts: float
    client_key: bytes
    sender: str | None

    def covers(self, from_client: bool) -> bool:
        """Say whether packets of that end are answered."""
        return self.sender is None or (self.sender == "client") is from_client


def _halves(key: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Cut a key into source, destination, source port, destination port."""
    if len(key) == 12:
        return key[:4], key[4:8], key[8:10], key[10:12]
    return key[:16], key[16:32], key[32:34], key[34:36]


def _three(key: bytes) -> bytes:
    source, target, _, port = _halves(key)
    return source + target + port


def _two(key: bytes) -> bytes:
    source, target, _, _ = _halves(key)
    return source + target


_KEYS: dict[str, Callable[[bytes], bytes]] = {
    "4-tuple": lambda key: key, "3-tuple": _three, "2-tuple": _two,
    "server": lambda key: _halves(key)[1], "client": lambda key: _halves(key)[0],
}  # fmt: skip
WIDE = frozenset((*_KEYS, "sources")) - {"4-tuple"}


class ResidualBlocks:
    """All running blocks, by what they are remembered by. Keys are those of the client's packets (see `flow`)."""

    def __init__(self) -> None:
        self.by_kind: dict[str, dict[tuple[int, bytes], Block]] = {}
        """Kind of key → key → block; empty while no block runs."""
        self._armed = 0

    def arm(self, rule: Rule, spec: Residual, proto: int, client_key: bytes, now: float, lasts: float) -> None:
        """Start a block for a flow; `sources` is one on each address."""
        for kind in ("client", "server") if spec.key == "sources" else (spec.key,):
            blocks = self.by_kind.setdefault(kind, {})
            about = 0 if kind in ("server", "client", "2-tuple") else proto
            sender = kind if spec.key == "sources" else spec.sender
            blocks[about, _KEYS[kind](client_key)] = Block(rule, spec, now + lasts, lasts, client_key, sender)
        self._armed += 1
        if self._armed % _SWEEP_EVERY == 0:
            self._keep(lambda running: running.until > now)

    def find(self, proto: int, key: bytes, now: float) -> tuple[Block, bool] | None:
        """Return the block that a packet falls into and whether its client sent it; its time is renewed if its rule
        says so."""
        back: bytes | None = None
        for kind, blocks in self.by_kind.items():
            about = 0 if kind in ("server", "client", "2-tuple") else proto
            cut = _KEYS[kind]
            block = blocks.get((about, cut(key)))
            from_client = True
            if block is None:
                if back is None:
                    back = mirrored(key)
                block, from_client = blocks.get((about, cut(back))), False
            if block is not None and now < block.until and block.covers(from_client):
                if block.spec.refresh:
                    block.until = now + block.lasts
                return block, from_client
        return None

    def forget(self, keep: Collection[str]) -> None:
        """Drop the blocks of rules that are gone."""
        self._keep(lambda running: running.rule.name in keep)

    def _keep(self, stays: Callable[[Block], bool]) -> None:
        kept = {
            kind: {key: block for key, block in blocks.items() if stays(block)} for kind, blocks in self.by_kind.items()
        }
        self.by_kind = {kind: blocks for kind, blocks in kept.items() if blocks}

    def __iter__(self) -> Iterator[Block]:
        return (block for blocks in self.by_kind.values() for block in blocks.values())

    def __len__(self) -> int:
        return sum(map(len, self.by_kind.values()))
