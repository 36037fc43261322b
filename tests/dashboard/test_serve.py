"""The page's server as a process: how it begins and how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.dashboard.fakes import FakeRun


def test_ctrl_c_ends_it_quietly_while_browsers_look(fake: FakeRun, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "dashboard", str(fake.directory.path), "--port", "0"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        found = re.search(r"(http://\S+)/#", process.stderr.readline())
        assert found is not None
        browsers = [urllib.request.urlopen(f"{found[1]}/api/stream", timeout=10) for _ in range(3)]
        for browser in browsers:
            assert browser.readline() == b"retry: 1000\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        for browser in browsers:
            assert browser.read()[-2:] == b"\n\n", "the stream came to its end, none was cut off"
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "ERROR" not in said
