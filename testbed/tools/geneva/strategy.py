"""A strategy as data: two forests of trees, each a trigger and a binary tree of actions; `str` writes it back."""

from __future__ import annotations

from dataclasses import dataclass

_ALONE = ("corrupt", "compress")


@dataclass(frozen=True, slots=True)
class Trigger:
    """Which packets a tree takes.

    `gas` is how often it may fire: None without end; below zero it lets so many matching packets by first. A value that
    ends in `*` matches every value that contains the rest.
    """

    proto: str
    field: str
    value: str
    gas: int | None = None

    def __str__(self) -> str:
        return f"[{self.proto}:{self.field}:{self.value}{'' if self.gas is None else f':{self.gas}'}]"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One packet becomes two."""

    def __str__(self) -> str:
        return "duplicate"


@dataclass(frozen=True, slots=True)
class Drop:
    """The packet is not sent."""

    def __str__(self) -> str:
        return "drop"


@dataclass(frozen=True, slots=True)
class Sleep:
    """The packet is sent later; the others are not held up, nor are copies and parts made of it afterwards."""

    seconds: float

    def __str__(self) -> str:
        return f"sleep{{{self.seconds:g}}}"


@dataclass(frozen=True, slots=True)
class Tamper:
    """One field is changed: `replace` and `add` with a value, `corrupt` with chance; a DNS question is `compress`ed."""

    proto: str
    field: str
    how: str
    value: str = ""

    def __str__(self) -> str:
        return f"tamper{{{self.proto}:{self.field}:{self.how}{'' if self.how in _ALONE else f':{self.value}'}}}"


@dataclass(frozen=True, slots=True)
class Trace:
    """Once, the packet is sent with each TTL from `first` to one below `last`, a second apart; then all are dropped."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"trace{{{self.first}:{self.last}}}"


@dataclass(frozen=True, slots=True)
class Fragment:
    """The packet is cut in two: TCP segments at `offset` bytes, IP fragments at `offset` times 8 bytes; -1 in half.

    `overlap` bytes of the second segment stand at the end of the first too.
    """

    layer: str
    offset: int
    in_order: bool
    overlap: int = 0

    def __str__(self) -> str:
        overlap = f":{self.overlap}" if self.overlap else ""
        return f"fragment{{{self.layer}:{self.offset}:{self.in_order}{overlap}}}"


@dataclass(frozen=True, slots=True)
class Insert:
    """`value`, `times` over, is put at the `start`, in the `middle` or at the `end` of a request's part.

    A part is a header's `name` or its `value`; method, path and version are all value (Harrity et al., GET /out, 2022).
    """

    value: str
    where: str
    part: str
    times: int = 1

    def __str__(self) -> str:
        return f"insert{{{self.value}:{self.where}:{self.part}:{self.times}}}"


@dataclass(frozen=True, slots=True)
class Replace:
    """A request's part becomes `value`, `times` over."""

    value: str
    part: str
    times: int = 1

    def __str__(self) -> str:
        return f"replace{{{self.value}:{self.part}:{self.times}}}"


@dataclass(frozen=True, slots=True)
class ChangeCase:
    """A header's name and value, or a method, path or version, in `upper` or `lower` case."""

    to: str

    def __str__(self) -> str:
        return f"changecase{{{self.to}}}"


Action = Duplicate | Drop | Sleep | Tamper | Trace | Fragment | Insert | Replace | ChangeCase


@dataclass(frozen=True, slots=True)
class Node:
    """An action and what becomes of its packets; without a child they are sent."""

    action: Action
    left: Node | None = None
    right: Node | None = None

    def __str__(self) -> str:
        if self.left is None and self.right is None:
            return str(self.action)
        return f"{self.action}({self.left or ''},{self.right or ''})"


@dataclass(frozen=True, slots=True)
class Tree:
    """A trigger and its actions; without actions the packets are sent as they are."""

    trigger: Trigger
    root: Node | None

    def __str__(self) -> str:
        return f"{self.trigger}-{f'{self.root}-' if self.root else ''}|"


@dataclass(frozen=True, slots=True)
class Strategy:
    """What happens to packets that go out and to those that come in."""

    outbound: tuple[Tree, ...] = ()
    inbound: tuple[Tree, ...] = ()

    @property
    def is_about_requests(self) -> bool:
        """Say whether it changes HTTP requests, which a proxy does, not packets."""
        return any(tree.trigger.proto == "HTTP" for tree in self.outbound)

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.outbound))} \\/ {' '.join(map(str, self.inbound))}".strip()
