"""All cells together: what holds, what failed, what proves nothing, and the exit status that follows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.campaign.cells import Cell, labels
from testbed.campaign.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell, how it ended (None: it didn't), and whether that outcome was there already."""

    cell: Cell
    outcome: Outcome | None
    reused: bool = False

    @property
    def word(self) -> str:
        """How it ended; `missing` if it was never run."""
        return self.outcome.word if self.outcome is not None else "missing"

    @property
    def holds(self) -> bool | None:
        """Say whether it is as expected; None if that can't be told."""
        return self.outcome.holds(self.cell.expected) if self.outcome is not None else None

    @property
    def why(self) -> tuple[str, ...]:
        """What there is to say about it."""
        return self.outcome.why if self.outcome is not None else ("it was not run",)

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        scenario, tool, policy = labels(self.cell.scenario, self.cell.tool, self.cell.policy)
        about: dict[str, Any] = {
            "cell": self.cell.name, "scenario": scenario, "tool": tool, "policy": policy, "seed": self.cell.seed,
            "turn": self.cell.turn, "expected": list(self.cell.expected), "outcome": self.word, "holds": self.holds,
            "reused": self.reused, "why": list(self.why),
        }  # fmt: skip
        if self.outcome is not None:
            kept = self.outcome.as_json()
            about |= {key: kept[key] for key in ("detail", "took_s", "run", "where", "alone", "lag")}
        return about


def exit_status(judged: Sequence[Judged]) -> int:
    """Return the worst of all: 4 a bug of ours, 1 an expectation failed, 3 something proves nothing, 0 all hold.

    A failure goes before what proves nothing, since it was proven; so a red CI says which of both it is.
    """
    if any(item.word == "error" for item in judged):
        return 4
    if any(item.holds is False for item in judged):
        return 1
    return 3 if any(item.holds is None for item in judged) else 0


def counts(judged: Sequence[Judged]) -> dict[str, int]:
    """Return how many are as expected, how many not, and how many prove nothing, by their word."""
    unproven = Counter(item.word for item in judged if item.holds is None)
    return {
        "hold": sum(item.holds is True for item in judged), "fail": sum(item.holds is False for item in judged),
        **dict(sorted(unproven.items())),
    }  # fmt: skip


def as_json(about: Mapping[str, Any], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the contents of `matrix.json`."""
    return {
        **about, "status": exit_status(judged), "counts": counts(judged), "cells": [item.as_json() for item in judged],
    }  # fmt: skip
