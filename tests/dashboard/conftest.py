"""A fake run for the live page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.fakes import FakeRun


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeRun]:
    with FakeRun(tmp_path / "run") as run:
        yield run
