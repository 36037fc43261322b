"""Three nodes in a row, a client, a box and a server, built inside a sandbox: for tests and benches of the box itself.

`python -m tests.live.line` is not a program; a script that needs the line calls `enter` first, which runs it again as
the first program of a fresh sandbox, and then `Line`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed import control
from testbed.net.fabric import Fabric
from testbed.net.sandbox import unshare_argv
from testbed.scenario.plan import Cable, Interface, Node, Route, TopologyPlan

CLIENT, SERVER = "100.64.0.2", "198.18.0.2"
CLIENT6, SERVER6 = "2001:db8:64::2", "2001:db8:18::2"
PLAN = TopologyPlan(
    nodes=(
        Node("client", "host", "inside", (Interface("client-eth0", (f"{CLIENT}/24", f"{CLIENT6}/64")),),
             (Route("default", "100.64.0.1"), Route("default", "2001:db8:64::1"))),
        Node("gw", "box", "middle", (Interface("gw-in", ("100.64.0.1/24", "2001:db8:64::1/64")),
                                     Interface("gw-out", ("198.18.0.1/24", "2001:db8:18::1/64"))),
             (Route("198.18.0.0/15", SERVER), Route("2001:db8:19::/48", SERVER6))),
        Node("server", "host", "outside", (Interface("server-eth0", (f"{SERVER}/24", f"{SERVER6}/64")),),
             (Route("default", "198.18.0.1"), Route("default", "2001:db8:18::1")),
             ("198.18.0.0/15", "2001:db8:19::/48")),
    ),
    cables=(Cable("client", "client-eth0", "gw", "gw-in"), Cable("gw", "gw-out", "server", "server-eth0")),
    ipv6=True,
)  # fmt: skip


def enter(argv: Sequence[str], *, timeout_s: float = 170, **run: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python module or script as the first program of a fresh sandbox."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LINE_INSIDE": "1"}
    environment["TESTBED_ROOTLESS"] = "1" if os.geteuid() != 0 else ""  # as `sandbox.enter` says it
    command = [*unshare_argv(os.geteuid() != 0), sys.executable, *argv]
    return subprocess.run(command, text=True, timeout=timeout_s, env=environment, check=False, **run)


class Line:
    """The three nodes, up; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("logs", "work/hosts"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Line:
        self.fabric = self._stack.enter_context(Fabric(PLAN, run_dir=self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._stack.close()

    def start(self, node: str, argv: Sequence[str], *, ready: bool = True) -> subprocess.Popen[bytes]:
        """Start a program in a node; with `ready`, wait for its first line."""
        popen = self.fabric.popen(node, argv, log_path=self.folder / "logs" / f"{node}.log", stdout=subprocess.PIPE)
        self._started.append(popen)
        if ready:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            assert line.strip() == b"ready", (line, (self.folder / "logs" / f"{node}.log").read_text())
        return popen

    def box(self, policy: Path | str, name: str = "box", **more: Any) -> Box:
        """Start a box with a policy."""
        config: Mapping[str, Any] = {
            "node": "gw", "inside_if": "gw-in", "outside_if": "gw-out", "policy": str(policy), "groups": {}, "seed": 1,
            "events": str(self.folder / f"{name}.events.jsonl"), "control": str(self.folder / f"{name}.sock"),
            "epoch": time.time(), "t0": time.monotonic(), "ipv6": True,
            "neighbours": PLAN.neighbours("gw"), **more,
        }  # fmt: skip
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config))
        popen = self.start("gw", [sys.executable, "-m", "testbed.middlebox.box", str(path)])
        return Box(popen, Path(config["control"]), Path(config["events"]), self)

    def clear(self) -> None:
        """Take a box's rules away, so that packets are plainly forwarded."""
        for argv in (
            ["iptables", "-t", "mangle", "-F"],
            ["ip6tables", "-t", "mangle", "-F"],
            ["nft", "flush", "ruleset"],
        ):
            self.fabric.run("gw", argv, check=False)

    def stop(self) -> None:
        """End what was started, the last first."""
        for popen in reversed(self._started):
            end(popen)
        self._started.clear()


class Box:
    """A running box."""

    def __init__(self, popen: subprocess.Popen[bytes], socket: Path, events: Path, line: Line) -> None:
        self._popen, self._socket, self._events, self._line = popen, socket, events, line

    @property
    def pid(self) -> int:
        """The number of the box's process; it is the program that `mnexec` became."""
        return self._popen.pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask the box through its control socket."""
        return control.call(self._socket, request, timeout_s=20)

    def signal(self, number: int) -> None:
        """Send the box's process a signal; it is the program that `mnexec` became."""
        self._popen.send_signal(number)

    def events(self) -> list[dict[str, Any]]:
        """Return the events so far."""
        return [json.loads(line) for line in self._events.read_text().splitlines()]

    def end(self) -> list[dict[str, Any]]:
        """End the box, its rules with it; return its events."""
        end(self._popen)
        self._line.clear()
        return self.events()


def end(popen: subprocess.Popen[bytes]) -> None:
    """End a process that we started."""
    popen.terminate()
    try:
        popen.wait(timeout=5)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
    if popen.stdout is not None:
        popen.stdout.close()
