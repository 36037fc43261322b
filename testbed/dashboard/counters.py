"""How many packets each cable carries, by the kernel's own counters, read from outside the sandbox.

`/proc/PID/net/dev` shows the interfaces of that process's namespace. `nodes.json` holds process ids as the sandbox
counts them; the last number of `NSpid:` in `/proc/PID/status` (proc(5)) joins the two counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.run.directory import RunDirectory

Counts = Mapping[str, tuple[int, int]]
"""Interface → packets received and sent since it was made."""


def processes(directory: RunDirectory) -> dict[str, int]:
    """Return each node's process id as this process counts them; empty if the run isn't up or isn't ours to see."""
    try:
        sandbox = json.loads((directory.path / "sandbox.json").read_text(encoding="utf-8"))
        nodes = json.loads(directory.nodes.read_text(encoding="utf-8"))
        children = Path(f"/proc/{sandbox['unshare']}/task/{sandbox['unshare']}/children").read_text().split()
        space = Path(f"/proc/{children[0]}/ns/pid").readlink()
    except (OSError, ValueError, IndexError, KeyError):
        return {}
    outer = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns/pid").readlink() == space:
                    outer[_innermost(entry)] = int(entry.name)
            except (OSError, ValueError):
                continue
    return {name: outer[pid] for name, pid in nodes.items() if pid in outer}


def _innermost(entry: Path) -> int:
    line = next(line for line in (entry / "status").read_text().splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])


def parse(text: str) -> dict[str, tuple[int, int]]:
    """Read the text of `/proc/net/dev`: two lines of titles, then `name: bytes packets …` (8 numbers in, 8 out)."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        fields = numbers.split()
        found[name.strip()] = (int(fields[1]), int(fields[9]))
    return found


class Traffic:
    """Packets a second along each edge of a drawing, since it was last asked."""

    def __init__(self, edges: Sequence[Mapping[str, str]], pids: Mapping[str, int]) -> None:
        self._edges, self._pids = edges, pids
        self._before: dict[str, Counts] = {}
        self._before_t = 0.0

    def rates(self, t: float) -> list[list[float]]:
        """Return outward and inward packets a second of each edge at a time `t`, in the drawing's order."""
        now = self._read()
        passed_s = t - self._before_t
        found = [[0.0, 0.0] for _ in self._edges]
        if self._before and passed_s > 0:
            for rate, edge in zip(found, self._edges, strict=True):
                old = self._before.get(edge["a"], {}).get(edge["a_if"])
                new = now.get(edge["a"], {}).get(edge["a_if"])
                if old and new:
                    rate[:] = [round((new[1] - old[1]) / passed_s, 1), round((new[0] - old[0]) / passed_s, 1)]
        self._before, self._before_t = now, t
        return found

    def _read(self) -> dict[str, Counts]:
        found: dict[str, Counts] = {}
        for name in sorted({edge["a"] for edge in self._edges}):
            if name in self._pids:
                try:
                    found[name] = parse(Path(f"/proc/{self._pids[name]}/net/dev").read_text())
                except (OSError, ValueError):
                    continue
        return found
