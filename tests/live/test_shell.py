"""The prompt of a country, typed into as people and scripts do."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from tests.live.conftest import COMMAND

pytestmark = pytest.mark.live
SHELL = ("shell", "imo-goes-dark", "--policy", "open", "--link", "none")
_PATIENCE_S = 30.0


def test_a_terminal_with_tab_help_and_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *SHELL], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # makes it the controlling terminal
    )  # fmt: skip
    os.close(theirs)
    try:
        assert "mininet> " in until(ours, "mininet> ")
        assert "NODE COMMAND" in typed(ours, "hel\t\n")
        assert "198.18.0.80" in typed(ours, "nod\t\n")
        assert "1 received" in typed(ours, "client1 ping -c1 we\t\n")
        os.write(ours, b"client1 ping web\n")
        until(ours, "bytes from")  # it runs: a shell between fork and exec would keep Ctrl-C to itself
        assert "packets transmitted" in typed(ours, "\x03")
        assert "100.64.1.1" in typed(ours, "client1 hostname -I\n")
        os.write(ours, b"exit\n")
        assert process.wait(_PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def typed(terminal: int, keys: str) -> str:
    """Type, and return what is shown until the next prompt."""
    os.write(terminal, keys.encode())
    return until(terminal, "mininet> ")


def until(terminal: int, wanted: str) -> str:
    """Return what a terminal shows until some text is there."""
    shown, deadline = "", time.monotonic() + _PATIENCE_S
    while wanted not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {wanted!r} within {_PATIENCE_S:g} s: {shown}"
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def test_a_script_gets_the_commands_words_alone(tmp_path: Path) -> None:
    lines = "# a remark\nclient1 hostname -I\nnosuch\nclient2 ping -q -c1 web | grep -c '1 received'\n"
    done = subprocess.run(
        [*COMMAND, *SHELL], input=lines, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines() if line] == ["100.64.1.1", "no", "1"]
