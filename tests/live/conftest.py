"""Live tests run the command as a user would: unmodified programs, a real kernel, no mocks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Testbed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def testbed(tmp_path: Path) -> Testbed:
    """Run `testbed ARGUMENTS` and return what it did."""

    def run(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "testbed.cli.main", *arguments],
            capture_output=True, text=True, timeout=timeout_s, cwd=tmp_path, check=False,
        )  # fmt: skip

    return run
