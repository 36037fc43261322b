"""One JSON line in, one JSON line out, over a Unix socket: how a run speaks to its box and link processes.

The server is polled, never threaded, so that it fits the select loop of a packet process: register `fileno()` and call
`accept_ready()` when it is readable. A client that sends nonsense gets an `error`; it can't stop the server.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.errors import InputError, Problem, TestbedError

Answer = Callable[[dict[str, Any]], Mapping[str, Any]]
_LONGEST_REQUEST_BYTES = 1 << 20


class ControlServer:
    """A listening Unix socket that answers one request a connection."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path, self._answer = path, answer
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with _short(path) as name:
            self._socket.bind(name)
        path.chmod(0o600)
        self._socket.listen(16)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._socket.fileno()

    def accept_ready(self) -> None:
        """Answer every connection that waits; a broken client is dropped."""
        while True:
            try:
                peer, _ = self._socket.accept()
            except BlockingIOError:
                return
            with peer:
                peer.settimeout(0.5)
                try:
                    peer.sendall(json.dumps(self._reply(_read_line(peer))).encode() + b"\n")
                except OSError:
                    continue

    def _reply(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")
            return self._answer(request)
        except (ValueError, KeyError, TypeError, TestbedError) as error:
            return {"error": str(error) or type(error).__name__}

    def close(self) -> None:
        """Stop listening and remove the socket's file."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def serve(path: Path, answer: Answer) -> ControlServer:
    """Listen on a Unix socket that only this user may open."""
    return ControlServer(path, answer)


def call(path: Path, request: Mapping[str, Any], timeout_s: float = 2.0) -> dict[str, Any]:
    """Send one request and return its answer; `InputError` if the other side refused, `OSError` if nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as peer:
        peer.settimeout(timeout_s)
        with _short(path) as name:
            peer.connect(name)
        peer.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(_read_line(peer) or b'{"error": "no answer"}')
    if "error" in answer:
        raise InputError([Problem(path.name, str(answer["error"]))])
    return dict(answer)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by its open folder: an address holds 107 bytes (unix(7)), the path of a run may be longer."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _read_line(peer: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) < _LONGEST_REQUEST_BYTES:
        chunk = peer.recv(65536)
        if not chunk:
            break
        received += chunk
    return received
