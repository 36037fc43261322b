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
    "3-tuple": _three, "2-tuple": _two, "server": lambda key: _halves(key)[1], "client": lambda key: _halves(key)[0],
}  # fmt: skip
WIDE = frozenset((*_KEYS, "sources"))


class ResidualBlocks:
    """All running blocks, by what they are remembered by. Keys are those of the client's packets (see `flow`)."""

    def __init__(self) -> None:
        self.any_armed = False
        """Some block may run: the engine asks this for every packet."""
        self._exact: dict[tuple[int, bytes], Block] = {}
        """Those on a 4-tuple, under the keys of both directions: one look-up finds them."""
        self._wide: dict[str, dict[tuple[int, bytes], Block]] = {}
        self._armed = 0

    def arm(self, rule: Rule, spec: Residual, proto: int, client_key: bytes, now: float, lasts: float) -> None:
        """Start a block for a flow; `sources` is one on each address."""
        self.any_armed = True
        if spec.key == "4-tuple":
            block = Block(rule, spec, now + lasts, lasts, client_key, spec.sender)
            self._exact[proto, client_key] = self._exact[proto, mirrored(client_key)] = block
        else:
            for kind in ("client", "server") if spec.key == "sources" else (spec.key,):
                sender = kind if spec.key == "sources" else spec.sender
                block = Block(rule, spec, now + lasts, lasts, client_key, sender)
                self._wide.setdefault(kind, {})[_about(kind, proto), _KEYS[kind](client_key)] = block
        self._armed += 1
        if self._armed % _SWEEP_EVERY == 0:
            self._keep(lambda running: running.until > now)

    def find(self, proto: int, key: bytes, now: float) -> tuple[Block, bool] | None:
        """Return the block that a packet falls into and whether its client sent it; its time is renewed if its rule
        says so."""
        block = self._exact.get((proto, key))
        found = (block, key == block.client_key) if block is not None and now < block.until else None
        if found is None or not found[0].covers(found[1]):
            found = self._find_wide(proto, key, now) if self._wide else None
        if found is not None and found[0].spec.refresh:
            found[0].until = now + found[0].lasts
        return found

    def _find_wide(self, proto: int, key: bytes, now: float) -> tuple[Block, bool] | None:
        back = mirrored(key)
        for kind, blocks in self._wide.items():
            about, cut = _about(kind, proto), _KEYS[kind]
            for own, from_client in ((key, True), (back, False)):
                block = blocks.get((about, cut(own)))
                if block is not None and now < block.until and block.covers(from_client):
                    return block, from_client
        return None

    def forget(self, keep: Collection[str]) -> None:
        """Drop the blocks of rules that are gone."""
        self._keep(lambda running: running.rule.name in keep)

    def _keep(self, stays: Callable[[Block], bool]) -> None:
        self._exact = {key: block for key, block in self._exact.items() if stays(block)}
        kept = {
            kind: {key: block for key, block in blocks.items() if stays(block)} for kind, blocks in self._wide.items()
        }
        self._wide = {kind: blocks for kind, blocks in kept.items() if blocks}
        self.any_armed = bool(self._exact or self._wide)

    def __iter__(self) -> Iterator[Block]:
        yield from {id(block): block for block in self._exact.values()}.values()
        for blocks in self._wide.values():
            yield from blocks.values()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _about(kind: str, proto: int) -> int:
    """Return the protocol that a kind of block is bound to; 0: any."""
    return proto if kind == "3-tuple" else 0
