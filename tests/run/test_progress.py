"""Progress: plain lines for a log, a bar that goes away for a terminal."""

from __future__ import annotations

import io

from testbed.run.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO) -> str:
    progress = Progress("A run", 10.0, stream)
    progress.start()
    for second in (0.0, 5.0):
        progress.tick(second)
    progress.say(5.0, "phase dark, policy tm-2022")
    progress.close()
    return stream.getvalue()


def test_a_log_gets_one_plain_line_a_step() -> None:
    assert told(io.StringIO()) == "   5.0 s  phase dark, policy tm-2022\n"


def test_a_terminal_gets_a_bar_and_the_step() -> None:
    shown = told(Terminal())
    assert "A run" in shown
    assert "   5.0 s  phase dark, policy tm-2022" in shown
    assert "\x1b[" in shown
