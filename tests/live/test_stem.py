"""A program that was forked from the stem is what it would be had it been started anew, and ends as it would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.net.sandbox import unshare_argv

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Do all experiments once, in one sandbox."""
    folder = tmp_path_factory.mktemp("stem")
    argv = [*unshare_argv(os.geteuid() != 0), sys.executable, "-m", "tests.live.stem_inside", str(folder)]
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=root, env=env, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout))


def test_a_forked_program_finds_what_a_started_one_finds(seen: dict[str, Any]) -> None:
    anew, forked = seen["both"]["anew"], seen["both"]["forked"]
    assert seen["both"]["statuses"] == [0, 0]
    assert forked["seen"].pop("descriptors") == ["0", "1", "2"]
    assert set(anew["seen"].pop("descriptors")) >= {"0", "1", "2"}  # `mnexec` leaves two of its own
    assert forked["seen"] == anew["seen"]
    assert forked["seen"]["parent"] == 1
    assert forked["chance"] != anew["chance"]


def test_its_log_begins_with_its_command(seen: dict[str, Any]) -> None:
    assert seen["both"]["first_line"] == f"$ {sys.executable} -P -m tests.live.mirror 'a b' 'ü' 0"


def test_it_ends_as_python_ends(seen: dict[str, Any]) -> None:
    ends = seen["ends"]
    assert ends["7"][0] == 7
    assert ends["text"] == [1, "it is over"]
    assert ends["error"] == [1, "ValueError: a bug"]
    assert ends["SIGTERM"] == [None, -15, ""]
    assert ends["SIGINT"] == [None, -2, ""]
    assert ends["SIGKILL"] == [None, -9, ""]


def test_where_its_node_is_gone_it_says_so_in_its_log(seen: dict[str, Any]) -> None:
    assert "No such file or directory: '/proc/99999/ns/net'" in seen["gone"]
