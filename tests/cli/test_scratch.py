"""Scratch folders: gone afterwards, also those of runs that were killed; another run's is left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from testbed.cli import live


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return tmp_path


def aged(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    old = time.time() - 60
    os.utime(folder, (old, old))
    return folder


def test_a_scratch_folder_is_gone_afterwards(parent: Path) -> None:
    with live.scratch() as folder:
        (folder / "file").touch()
        assert folder.parent == parent
    assert list(parent.iterdir()) == []


def test_what_killed_runs_left_is_swept_and_what_is_in_use_is_not(parent: Path) -> None:
    left = aged(parent / "testbed-run-killed")
    (left / "work").mkdir()
    aged(left)
    other = aged(parent / "somebody-elses")
    young = parent / "testbed-run-young"
    young.mkdir()
    (parent / "testbed-run-link").symlink_to(other)
    with live.scratch() as used:
        aged(used)
        live.sweep(parent)
        assert used.exists()
        assert not left.exists()
        assert other.exists()
        assert young.exists()
