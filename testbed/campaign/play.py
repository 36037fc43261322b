"""Plays orders to their end with a crew, and repeats alone what load may have spoilt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from testbed.campaign.crew import Crew
from testbed.campaign.order import Order
from testbed.campaign.outcome import Outcome


def play(orders: Iterable[Order], crew: Crew, tell: Callable[[Outcome], None], tick: Callable[[int], None]) -> None:
    """Carry out every order; `tell` gets each final outcome as it comes, `tick` the number that wait.

    An outcome that proves nothing, or came while the machine was late, is not final: when all others are done the order
    is repeated alone, and what comes then counts.
    """
    waiting = deque(orders)
    by_name = {order.cell: order for order in waiting}
    again: deque[Order] = deque()
    while waiting or again or crew.busy:
        tick(len(waiting) + len(again))
        for outcome in crew.ended():
            if spoilt(outcome):
                again.append(by_name[outcome.cell])
            else:
                tell(outcome)
        if waiting and crew.has_room():
            crew.start(waiting.popleft(), alone=False)
        elif again and not waiting and not crew.busy:
            crew.start(again.popleft(), alone=True)
    tick(0)


def spoilt(outcome: Outcome) -> bool:
    """Say whether load may have made an outcome, so that it must be seen again alone."""
    return not outcome.alone and (outcome.word == "invalid" or (outcome.proves and outcome.lag.disturbed))
