"""The timeline's own clock, under a hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import control
from testbed.errors import InputError
from testbed.run.steering import Steering


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Hand:
    """Sends requests from another thread, since the run answers only while it waits."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.record = folder / "steps.jsonl"
        self.steering = Steering(folder / "run.sock", self.clock, self.record, {"duration_s": 60})
        self._path = folder / "run.sock"

    def __call__(self, op: str, until_s: float = 10.0, **more: Any) -> dict[str, Any]:
        answers: list[dict[str, Any] | Exception] = []

        def ask() -> None:
            try:
                answers.append(control.call(self._path, {"op": op, **more}))
            except InputError as error:
                answers.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():
            self.steering.wait(until_s, 0.01)
        thread.join()
        (answer,) = answers
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    found = Hand(tmp_path)
    yield found
    found.steering.close()


def test_untouched_the_timeline_is_the_clock(hand: Hand) -> None:
    hand.clock.now = 3.0
    assert hand("status")["timeline_s"] == 3.0
    hand.clock.now = 10.0
    assert hand.steering.wait(10.0, 0.0)
    assert hand.steering.reasons() == []


def test_held_the_timeline_stands_and_goes_on_where_it_stood(hand: Hand) -> None:
    hand.clock.now = 3.0
    assert hand("hold")["held"]
    hand.clock.now = 50.0
    assert not hand.steering.wait(10.0, 0.0)
    assert hand("go")["timeline_s"] == 3.0
    hand.clock.now = 57.0
    assert hand.steering.wait(10.0, 0.0)


@pytest.mark.parametrize("held", [False, True])
def test_pushed_the_next_step_is_due_and_later_ones_keep_their_distance(hand: Hand, held: bool) -> None:
    hand.clock.now = 3.0
    if held:
        hand("hold")
        hand.clock.now = 5.0
    hand("next", until_s=10.0)
    assert hand.steering.wait(10.0, 0.0)
    assert not hand.steering.wait(20.0, 0.0)
    if held:
        hand("go")
    hand.clock.now += 10.0
    assert hand.steering.wait(20.0, 0.0)


def test_a_touched_run_says_so(hand: Hand) -> None:
    hand.clock.now = 3.0
    hand("steered", step={"policy": "tm-2022", "box": "gateway"})
    assert hand.steering.reasons() == ["steered by hand 1 times, first at 3.0 s: policy tm-2022, box gateway"]
    (line,) = hand.record.read_text().splitlines()
    assert json.loads(line) == {"t": 3.0, "step": {"policy": "tm-2022", "box": "gateway", "by": "hand"}}


def test_stop_is_an_interrupt(hand: Hand) -> None:
    with pytest.raises(KeyboardInterrupt):
        hand("stop")


def test_nonsense_is_answered_and_changes_nothing(hand: Hand) -> None:
    with pytest.raises(InputError, match="unknown operation 'shout'"):
        hand("shout")
    assert hand.steering.reasons() == []


@pytest.mark.parametrize("held_at", [0.1, 0.7, 1.3, 2.9])
def test_a_push_reaches_its_moment_whatever_floats_make_of_it(hand: Hand, held_at: float) -> None:
    hand.clock.now = held_at
    hand("hold")
    for until_s in (3000.1, 3000.3, 3001.7, 7777.7):
        hand("next", until_s)
        assert hand.steering.wait(until_s, 0.0)
