"""Playing orders: all are carried out, what load may have spoilt is repeated alone, what stays invalid is invalid."""

from __future__ import annotations

from collections.abc import Callable

from testbed.campaign.order import Order
from testbed.campaign.outcome import Outcome
from testbed.campaign.play import play
from tests.campaign.orders import order, outcome


class Rehearsed:
    """A crew that carries two at a time and ends them as told, the oldest first."""

    state = ""

    def __init__(self, ending: Callable[[str, bool], Outcome]) -> None:
        self._ending = ending
        self._running: list[tuple[str, bool]] = []
        self.said: list[str] = []
        self._asked = 0

    @property
    def busy(self) -> int:
        return len(self._running)

    def has_room(self) -> bool:
        return self.busy < 2

    def start(self, order: Order, *, alone: bool) -> None:
        assert not (alone and self._running), "not alone"
        self._running.append((order.cell, alone))
        self.said.append(f"{order.cell}{' alone' if alone else ''} beside {self.busy - 1}")

    def ended(self) -> list[Outcome]:
        self._asked += 1
        return [self._ending(*self._running.pop(0))] if self._running and self._asked % 3 == 0 else []

    def cancel(self) -> None:
        self._running.clear()


def played(crew: Rehearsed, *cells: str) -> list[Outcome]:
    found: list[Outcome] = []
    play([order(cell) for cell in cells], crew, found.append, lambda waiting: None)
    return found


def test_all_are_carried_out_as_there_is_room() -> None:
    crew = Rehearsed(lambda cell, alone: outcome(cell))
    assert [found.cell for found in played(crew, "a", "b", "c")] == ["a", "b", "c"]
    assert crew.said == ["a beside 0", "b beside 1", "c beside 1"]


def test_an_invalid_one_is_repeated_alone_when_all_others_are_done() -> None:
    crew = Rehearsed(lambda cell, alone: outcome(cell, "ok" if alone or cell != "a" else "invalid", alone=alone))
    found = played(crew, "a", "b", "c")
    assert [(each.cell, each.word, each.alone) for each in found] == [
        ("b", "ok", False), ("c", "ok", False), ("a", "ok", True),
    ]  # fmt: skip
    assert crew.said[-1] == "a alone beside 0"


def test_what_is_invalid_alone_stays_invalid() -> None:
    crew = Rehearsed(lambda cell, alone: outcome(cell, "invalid", alone=alone))
    assert [(each.word, each.alone) for each in played(crew, "a")] == [("invalid", True)]


def test_what_came_while_the_machine_was_late_is_seen_again() -> None:
    crew = Rehearsed(lambda cell, alone: outcome(cell, "blocked", alone=alone, late=0 if alone else 9))
    assert [each.alone for each in played(crew, "a", "b")] == [True, True]


def test_a_missing_program_is_no_reason_to_try_again() -> None:
    crew = Rehearsed(lambda cell, alone: outcome(cell, "skipped", alone=alone, late=9))
    assert [(each.word, each.alone) for each in played(crew, "a")] == [("skipped", False)]
