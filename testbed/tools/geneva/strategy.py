"""A strategy as data: two forests of trees, each a trigger and a binary tree of actions; `str` writes it back."""

from __future__ import annotations

from dataclasses import dataclass


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
    """The packet is sent later; the others are not held up."""

    seconds: float

    def __str__(self) -> str:
        return f"sleep{{{self.seconds:g}}}"


@dataclass(frozen=True, slots=True)
class Tamper:
    """One field is changed: `replace` and `add` with a value, `corrupt` with chance."""

    proto: str
    field: str
    how: str
    value: str = ""

    def __str__(self) -> str:
        return f"tamper{{{self.proto}:{self.field}:{self.how}{'' if self.how == 'corrupt' else f':{self.value}'}}}"


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


Action = Duplicate | Drop | Sleep | Tamper | Fragment


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

    def __str__(self) -> str:
        return f"{' '.join(map(str, self.outbound))} \\/ {' '.join(map(str, self.inbound))}".strip()
