"""Who hears Ctrl-C: the command of `testbed exec` gets it once, wherever it came from."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from typing import cast

import pytest

from testbed.run import command


class Command:
    """A command that writes its signals down."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


@pytest.mark.parametrize(("times", "passed_on"), [(1, [signal.SIGINT]), (2, []), (3, [])])
def test_a_lone_interrupt_is_passed_on(times: int, passed_on: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_SECOND_INTERRUPT_S", 0.05)
    heard = Command()
    interrupts = command._Interrupts(cast("subprocess.Popen[bytes]", heard))
    for _ in range(times):
        interrupts.count(signal.SIGINT, None)
    time.sleep(0.3)
    assert heard.signals == passed_on


def test_an_interrupt_in_the_midst_of_another_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_SECOND_INTERRUPT_S", 0.05)
    heard = Command()
    interrupts = command._Interrupts(cast("subprocess.Popen[bytes]", heard))
    start, nested = threading.Timer.start, list[bool]()

    def interrupted(timer: threading.Timer) -> None:
        if not nested:
            nested.append(True)
            interrupts.count(signal.SIGINT, None)
        start(timer)

    monkeypatch.setattr(threading.Timer, "start", interrupted)
    interrupts.count(signal.SIGINT, None)
    time.sleep(0.3)
    assert heard.signals == []
