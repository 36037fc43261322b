"""A program's log, kept within bounds: its beginning and its end, so that one that floods fills no disk."""

from __future__ import annotations

import re
import threading
from collections import deque
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

HEAD_BYTES, TAIL_BYTES, _CHUNK = 1 << 20, 1 << 16, 1 << 16
_TAIL_LINES = 8
#: colours and other sequences, and lone control characters, which XML has no place for, either
_STEERING = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[\]P^_].*?(?:\x07|\x1b\\)|[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]", re.DOTALL
)


class BoundedLog:
    """Copies what a program says into a file until `HEAD_BYTES`; behind that only the last `TAIL_BYTES` are kept."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = cast(BufferedReader, stream)  # a pipe of Popen is one, though it isn't typed so
        self._path = path
        self._tail: deque[bytes] = deque()
        self._begun = path.stat().st_size if path.exists() else 0
        self._written, self._held, self.left_out = self._begun, 0, 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._copy, daemon=True, name=f"log {path.name}")
        self._thread.start()

    def _copy(self) -> None:
        with self._stream, self._path.open("ab", buffering=0) as out:
            while chunk := self._stream.read1(_CHUNK):
                room = max(0, HEAD_BYTES - self._written)
                self._written += out.write(chunk[:room]) or 0
                self._hold(chunk[room:])
            with self._lock:
                if self._held:
                    out.write(f"\n[… {self.left_out} bytes left out …]\n".encode() + b"".join(self._tail))

    def _hold(self, chunk: bytes) -> None:
        if not chunk:
            return
        with self._lock:
            self._tail.append(chunk)
            self._held += len(chunk)
            while self._held - len(self._tail[0]) > TAIL_BYTES:
                gone = len(self._tail.popleft())
                self._held, self.left_out = self._held - gone, self.left_out + gone

    def text(self) -> str:
        """Return what is kept of what this program said so far: the file may begin with an earlier start of it."""
        with self._lock:
            tail = b"".join(self._tail)
        kept = self._path.read_bytes()[self._begun :] if self._path.exists() else b""
        return (kept + tail).decode(errors="replace")

    def close(self, patience_s: float = 1.0) -> None:
        """Wait until the program's last words are in the file, unless a child of it still holds its output."""
        self._thread.join(patience_s)


def last_lines(text: str) -> str:
    """Return the end of a log, as it stands in a message: what would steer a terminal is left out."""
    text = _STEERING.sub("", text)
    lines = [line for line in text.strip().splitlines() if not line.startswith("$ ")][-_TAIL_LINES:]
    return "\n".join(line[:300] for line in lines) or "its log is empty"
