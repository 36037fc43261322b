"""The control socket: answers, refuses nonsense, and goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import control
from testbed.errors import InputError


def answer(request: dict[str, Any]) -> dict[str, Any]:
    return {"twice": request["n"] * 2}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    server = control.serve(tmp_path / "s.sock", answer)
    done = threading.Event()

    def poll() -> None:
        while not done.wait(0.01):
            server.accept_ready()

    thread = threading.Thread(target=poll)
    thread.start()
    yield tmp_path / "s.sock"
    done.set()
    thread.join()
    server.close()


def test_a_request_is_answered(path: Path) -> None:
    assert control.call(path, {"n": 21}) == {"twice": 42}


def test_nonsense_is_refused_and_the_server_goes_on(path: Path) -> None:
    with pytest.raises(InputError, match="n"):
        control.call(path, {})
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(path))
        raw.sendall(b"\xff{\n")
        assert b"error" in raw.recv(1000)
    assert control.call(path, {"n": 1}) == {"twice": 2}


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    server = control.serve(folder / "s.sock", answer)
    peer = threading.Timer(0.05, server.accept_ready)
    peer.start()
    assert control.call(folder / "s.sock", {"n": 2}) == {"twice": 4}
    peer.join()
    server.close()
    assert not (folder / "s.sock").exists()


def test_only_the_owner_may_speak(path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
