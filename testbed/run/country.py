"""The emulated country, up and running: fabric, national link, boxes and the world, in the order they depend on.

Used by every verb that goes live (`run`, `exec`, `shell`). Runs inside the sandbox, as its root. It starts processes
and waits until each says it is ready; it judges nothing.
"""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed import control
from testbed.clock import RunClock
from testbed.errors import TestbedError
from testbed.link import kernel
from testbed.link.spec import LinkSpec, plain
from testbed.net.fabric import Fabric
from testbed.net.hosts import Trust
from testbed.run import capture
from testbed.run.directory import RunDirectory
from testbed.scenario.plan import TopologyPlan
from testbed.world.ca import RunCA
from testbed.world.start import start_world

LINK = "nationallink"
LINK_PORTS = ("link-in", "link-out")
_READY_S = 20.0


@dataclass(frozen=True, slots=True)
class CountrySpec:
    """What to bring up: the net, its link (None: unshaped), each box's policy file, and the seed."""

    plan: TopologyPlan
    link: LinkSpec | None
    policies: Mapping[str, str]
    seed: int
    capture: bool = True


@dataclass(slots=True)
class _Process:
    name: str
    node: str
    popen: subprocess.Popen[bytes]
    log: Path


@dataclass
class Country:
    """A context manager: inside it the net is up and every service answers."""

    spec: CountrySpec
    directory: RunDirectory
    clock: RunClock
    fabric: Fabric = field(init=False)
    ca: RunCA = field(init=False)
    _processes: list[_Process] = field(init=False, default_factory=list)
    _captures: list[_Process] = field(init=False, default_factory=list)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)

    def __enter__(self) -> Country:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._stack.close()

    def _start(self) -> None:
        self.directory.write_json(self.directory.plan, self.spec.plan.as_json())
        self.ca = RunCA.create(self.directory.path / "work" / "ca")
        trust = Trust(self.ca.bundle, self.ca.nss_folder)
        self.fabric = self._stack.enter_context(Fabric(self.spec.plan, run_dir=self.directory.path, trust=trust))
        starting = [self._start_link(), *(self._start_box(box) for box in sorted(self.spec.policies))]
        if self.spec.capture:
            for box in sorted(self.spec.policies):
                self._start_captures(box)
        start_world(self.fabric, self.spec.plan, self.directory.path, self.ca)
        for process in starting:
            if process is not None:
                _await_ready(process)

    def _start_link(self) -> _Process | None:
        if self.spec.link is None or self.spec.link.uses_kernel:
            commands = kernel.bridge_commands(*LINK_PORTS)
            if self.spec.link is not None:
                commands += kernel.shape_commands(self.spec.link, *LINK_PORTS)
            for argv in commands:
                self.fabric.run(LINK, argv)
            return None
        config = {
            "node": LINK, "inside_if": LINK_PORTS[0], "outside_if": LINK_PORTS[1],
            "link": plain(self.spec.link), "seed": self.spec.seed,
            "control": str(self.directory.control("link")), "log": str(self.departures),
            "samples": str(self.directory.link_samples),
            "epoch": self.clock.epoch, "t0": self.clock.t0,
        }  # fmt: skip
        return self._start_module("testbed.middlebox.pipe", "link", LINK, config)

    def address(self, node: str) -> str:
        """Return a node's first IPv4 address."""
        return self.spec.plan.node(node).interfaces[0].addresses[0].partition("/")[0]

    @property
    def departures(self) -> Path:
        """The link's log of ideal and actual departures."""
        return self.directory.path / "work" / "departures.bin"

    def _start_box(self, box: str) -> _Process:
        config = {
            "node": box, "inside_if": f"{box}-in", "outside_if": f"{box}-out", "policy": self.spec.policies[box],
            "groups": {name: list(values) for name, values in self.spec.plan.groups.items()},
            "seed": self.spec.seed, "events": str(self.directory.box_events(box)),
            "control": str(self.directory.control(box)), "epoch": self.clock.epoch, "t0": self.clock.t0,
            "ipv6": self.spec.plan.ipv6,
        }  # fmt: skip
        return self._start_module("testbed.middlebox.box", box, box, config)

    def _start_module(self, module: str, name: str, node: str, config: Mapping[str, Any]) -> _Process:
        path = self.directory.path / "work" / f"{name}.config.json"
        self.directory.write_json(path, config)
        log = self.directory.log(name)
        popen = self.fabric.popen(node, [sys.executable, "-m", module, str(path)], log_path=log, stdout=subprocess.PIPE)
        process = _Process(name, node, popen, log)
        self._processes.append(process)
        return process

    def serve(self, name: str, node: str, config: Mapping[str, Any]) -> None:
        """Start a server of the apps in a node and wait until it is ready."""
        path = self.directory.path / "work" / f"serve-{name}.json"
        self.directory.write_json(path, config)
        log = self.directory.log(f"serve-{name}")
        argv = [sys.executable, "-m", "testbed.apps", "serve", str(path)]
        popen = self.fabric.popen(node, argv, log_path=log, stdout=subprocess.PIPE)
        process = _Process(name, node, popen, log)
        self._processes.append(process)
        _await_ready(process)

    def _start_captures(self, box: str) -> None:
        for side, interface in (("inside", f"{box}-in"), ("outside", f"{box}-out")):
            log = self.directory.log(f"capture-{box}-{side}")
            popen = self.fabric.popen(box, capture.tcpdump(interface, self.raw_capture(box, side)), log_path=log)
            self._captures.append(_Process(f"capture of {box}", box, popen, log))

    def raw_capture(self, box: str, side: str) -> Path:
        """The capture as tcpdump writes it."""
        return self.directory.path / "work" / f"{box}-{side}.pcap"

    def set_policy(self, box: str, policy: str) -> None:
        """Replace a box's policy while packets flow."""
        control.call(self.directory.control(box), {"op": "policy", "policy": policy}, timeout_s=10)

    def set_rule(self, box: str, rule: str, enabled: bool) -> None:
        """Switch one rule of a box's policy on or off."""
        control.call(self.directory.control(box), {"op": "rule", "rule": rule, "enabled": enabled}, timeout_s=10)

    def set_link(self, link: LinkSpec) -> None:
        """Change the national link while packets flow."""
        control.call(self.directory.control("link"), {"op": "set", "link": plain(link)})

    def restart_clock(self) -> None:
        """Let the run begin now, however long the country took to come up; call it before there is traffic."""
        self.clock = RunClock.start(self.clock.epoch)
        for name in self._controlled():
            request = {"op": "clock", "t0": self.clock.t0, "epoch": self.clock.epoch}
            control.call(self.directory.control(name), request)

    def _controlled(self) -> list[str]:
        link = ["link"] if self.directory.control("link").exists() else []
        return [*sorted(self.spec.policies), *link]

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return the counters of the link and of each box, as they say them."""
        return {name: control.call(self.directory.control(name), {"op": "stats"}) for name in self._controlled()}

    def check_alive(self) -> list[str]:
        """Return what has died: without its box or its link a run proves nothing."""
        return [
            f"{process.name} ended with status {process.popen.poll()}: {_tail(process.log)}"
            for process in self._processes
            if process.popen.poll() is not None
        ]

    def stop(self) -> None:
        """End captures, boxes and link, in that order, so that their last lines are on disk."""
        for group in (self._captures, self._processes):
            for process in group:
                process.popen.terminate()
            for process in group:
                try:
                    process.popen.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    process.popen.kill()
        self._captures, self._processes = [], []


def _await_ready(process: _Process) -> None:
    """Wait until a process says `ready`; an early end shows the last lines of its log."""
    assert process.popen.stdout is not None
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if select.select([process.popen.stdout], [], [], 0.2)[0]:
            line = process.popen.stdout.readline()
            if line.strip() == b"ready":
                return
            if not line:
                break
    process.popen.kill()
    raise TestbedError(f"{process.name} did not start: {_tail(process.log)}")


def _tail(log: Path, lines: int = 8) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-lines:]) or "its log is empty"
