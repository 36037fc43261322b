"""Who hears Ctrl-C: the command of `testbed exec` gets it once, wherever it came from."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from testbed.run.command import _Interrupts


class Command:
    """A command that writes its signals down."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class Timers:
    """Timers that run out when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._begun: list[Callable[[], None]] = []
        self.meanwhile: Iterator[Callable[[], None]] = iter(())
        """What happens while the first is started, the second, …"""
        timers = self

        class Timer:
            daemon = False

            def __init__(self, after_s: float, act: Callable[[], None]) -> None:
                self._act = act

            def start(self) -> None:
                next(timers.meanwhile, lambda: None)()
                timers._begun.append(self._act)

        monkeypatch.setattr(threading, "Timer", Timer)

    def run_out(self) -> None:
        while self._begun:
            self._begun.pop(0)()


def interrupted(heard: Command) -> _Interrupts:
    return _Interrupts(cast("subprocess.Popen[bytes]", heard))


@pytest.mark.parametrize(("times", "passed_on"), [(1, [signal.SIGINT]), (2, [])])
def test_a_lone_interrupt_is_passed_on(times: int, passed_on: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    heard, timers = Command(), Timers(monkeypatch)
    interrupts = interrupted(heard)
    for _ in range(2):  # the next Ctrl-C is another
        for _ in range(times):
            interrupts.count(signal.SIGINT, None)
        timers.run_out()
    assert heard.signals == passed_on * 2


def test_an_interrupt_in_the_midst_of_another_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, timers = Command(), Timers(monkeypatch)
    interrupts = interrupted(heard)
    timers.meanwhile = iter([lambda: interrupts.count(signal.SIGINT, None)])
    interrupts.count(signal.SIGINT, None)
    timers.run_out()
    assert heard.signals == []
