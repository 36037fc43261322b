"""The emulated country, up and running: fabric, national link, boxes and the world, in the order they depend on.

Used by every verb that goes live (`run`, `exec`, `shell`). Runs inside the sandbox, as its root. It starts processes
and waits until each says it is ready; it judges nothing.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed import control, proc
from testbed.authority import Authority, folder_of
from testbed.clock import RunClock
from testbed.errors import MachineError, TestbedError
from testbed.link import kernel
from testbed.link.spec import LinkSpec, plain
from testbed.net.fabric import Fabric
from testbed.net.hosts import Trust
from testbed.net.stem import Stem
from testbed.run import capture
from testbed.run.directory import RunDirectory
from testbed.scenario.plan import TopologyPlan
from testbed.world.start import start_world

LINK = "nationallink"
LINK_PORTS = ("link-in", "link-out")
_READY_S = 60.0
_LAST_PACKETS_S = 0.1  # tcpdump leaves at once when told to, whatever it has not read yet
_DEATH_TOLD_S, _LOOK_S = 2.0, 0.02
_LINK_SNAPLEN_BYTES = 96


@dataclass(frozen=True, slots=True)
class CountrySpec:
    """What to bring up: the net, its link (None: unshaped), each box's policy file, and the seed."""

    plan: TopologyPlan
    link: LinkSpec | None
    policies: Mapping[str, str]
    seed: int
    capture: bool = True
    plugins: bool = False
    issuers: tuple[str, ...] = ()
    """The names under which its censors open TLS connections."""
    trusts_censor: bool = False
    """Whether hosts trust these."""


@dataclass(slots=True)
class _Process:
    name: str
    node: str
    popen: proc.Program
    log: Path


@dataclass
class Country:
    """A context manager: inside it the net is up and every service answers."""

    spec: CountrySpec
    directory: RunDirectory
    clock: RunClock
    stem: Stem | None = None
    """From which programs of ours are forked; without one they are started anew."""
    fabric: Fabric = field(init=False)
    ca: Authority = field(init=False)
    _processes: list[_Process] = field(init=False, default_factory=list)
    _captures: list[_Process] = field(init=False, default_factory=list)
    _services: list[_Process] = field(init=False, default_factory=list)
    """Packets that the queue of a kernel link dropped in each direction, known when the country has stopped."""
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
        self.ca = Authority.create(self.directory.path / "work" / "ca")
        censors = [Authority.at(folder_of(self.directory.authorities, name), name) for name in self.spec.issuers]
        trust = Trust(*self.ca.write_trust(censors if self.spec.trusts_censor else ()))
        fabric = Fabric(self.spec.plan, run_dir=self.directory.path, trust=trust, stem=self.stem)
        self.fabric = self._stack.enter_context(fabric)
        starting = [self._start_link(), *(self._start_box(box) for box in sorted(self.spec.policies))]
        if self.spec.capture:
            for box in sorted(self.spec.policies):
                self._start_captures(box)
        for service in start_world(self.fabric, self.spec.plan, self.directory.path, self.ca):
            self._services.append(_Process(service.name, service.node, service.process, service.log))
        for process in starting:
            if process is not None:
                _await_ready(process)

    def _start_link(self) -> _Process | None:
        """Start the link's process; the kernel alone carries one without shaping."""
        link = self.spec.link
        if link is None:
            for argv in kernel.bridge_commands(*LINK_PORTS):
                self.fabric.run(LINK, argv)
            return None
        config = {
            "node": LINK, "inside_if": LINK_PORTS[0], "outside_if": LINK_PORTS[1],
            "link": plain(link), "seed": self.spec.seed,
            "control": str(self.directory.control("link")), "log": str(self.departures),
            "samples": str(self.directory.link_samples),
            "epoch": self.clock.epoch, "t0": self.clock.t0,
        }  # fmt: skip
        if not link.uses_kernel:
            return self._start_program(proc.module("testbed.middlebox.pipe"), "link", LINK, config)
        self._capture_link()
        return self._start_program(proc.module("testbed.middlebox.shaper"), "link", LINK, config)

    def _capture_link(self) -> None:
        """Watch both ports of a kernel link, since its fidelity can't be had from the kernel otherwise."""
        for port in LINK_PORTS:
            log = self.directory.log(f"capture-{port}")
            command = capture.command(port, self.link_capture(port), kept_bytes=_LINK_SNAPLEN_BYTES)
            self._captures.append(
                _Process(f"capture of {port}", LINK, self.fabric.start(LINK, command, log_path=log), log)
            )
        for process in self._captures:
            _await_line(process, (b"listening on", b"File:"))

    def link_capture(self, port: str) -> Path:
        """The beginnings of the packets at a port of a kernel link."""
        return self.directory.path / "work" / f"{port}.pcap"

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
            "ipv6": self.spec.plan.ipv6, "plugins": self.spec.plugins, "authorities": str(self.directory.authorities),
            "neighbours": self.spec.plan.neighbours(box),
        }  # fmt: skip
        policy = self.spec.policies[box]
        program = [sys.executable, policy] if policy.endswith(".py") else proc.module("testbed.middlebox.box")
        return self._start_program(program, box, box, config)

    def _start_program(self, program: Sequence[str], name: str, node: str, config: Mapping[str, Any]) -> _Process:
        path = self.directory.path / "work" / f"{name}.config.json"
        self.directory.write_json(path, config)
        log = self.directory.log(name)
        popen = self.fabric.start(node, [*program, str(path)], log_path=log, piped=True)
        process = _Process(name, node, popen, log)
        self._processes.append(process)
        return process

    def serve(self, name: str, node: str, config: Mapping[str, Any]) -> None:
        """Start a server of the apps in a node and wait until it is ready."""
        path = self.directory.path / "work" / f"serve-{name}.json"
        self.directory.write_json(path, config)
        log = self.directory.log(f"serve-{name}")
        argv = proc.module("testbed.apps", "serve", str(path))
        popen = self.fabric.start(node, argv, log_path=log, piped=True)
        process = _Process(name, node, popen, log)
        self._processes.append(process)
        _await_ready(process)

    def _start_captures(self, box: str) -> None:
        for side, interface in (("inside", f"{box}-in"), ("outside", f"{box}-out")):
            log = self.directory.log(f"capture-{box}-{side}")
            popen = self.fabric.start(box, capture.command(interface, self.raw_capture(box, side)), log_path=log)
            self._captures.append(_Process(f"capture of {box}", box, popen, log))

    def raw_capture(self, box: str, side: str) -> Path:
        """The capture as tcpdump writes it."""
        return self.directory.path / "work" / f"{box}-{side}.pcap"

    def set_policy(self, box: str, policy: str) -> None:
        """Replace a box's policy while packets flow."""
        control.call(self.directory.control(box), {"op": "policy", "policy": policy}, timeout_s=10)

    def renew_policy(self, box: str, policy: str, *, fresh: bool = False) -> None:
        """Give a box a policy, if only the one it has, and let it forget what anybody did: running blocks end.

        `fresh`: nothing runs, and what begins anew is new, a datagram between the same ports too.
        """
        for each in dict.fromkeys(("open", policy)):
            request = {"op": "policy", "policy": each, "fresh": fresh}
            control.call(self.directory.control(box), request, timeout_s=10)

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
        """Return what has died: without its boxes, its link, its world and its captures a run proves nothing."""
        return [
            f"{process.name} ended with status {process.popen.poll()}: {_tail(process.log)}"
            for process in (*self._processes, *self._services, *self._captures)
            if process.popen.poll() is not None
        ] + [f"the node {node} was killed" for node in self.fabric.dead_nodes()]

    def stats_or_deaths(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return the counters and what has died; if anything has, there are no counters.

        A killed box's socket is gone a moment before its parent hears of the death.
        """
        until = time.monotonic() + _DEATH_TOLD_S
        while True:
            if died := self.check_alive():
                return {}, died
            try:
                return self.stats(), []
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(_LOOK_S)

    def stop(self) -> None:
        """End captures, boxes and link, in that order, so that their last lines are on disk."""
        if self._captures:
            time.sleep(_LAST_PACKETS_S)
        for name in self._controlled():  # their sockets wake them, a signal would wait for the end of their sleep
            with contextlib.suppress(OSError, TestbedError):
                control.call(self.directory.control(name), {"op": "stop"}, timeout_s=0.5)
        for group in (self._captures, self._processes):
            for process in group:
                process.popen.terminate()
            for process in group:
                try:
                    process.popen.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    process.popen.kill()
        self._captures, self._processes, self._services = [], [], []


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
    said = _tail(process.log)
    if process.popen.wait() == MachineError.exit_status:  # its own word for it
        what, _, mend = said.rpartition("; ")
        raise MachineError(what, mend)
    raise TestbedError(f"{process.name} did not start: {said}")


def _await_line(process: _Process, signs: tuple[bytes, ...]) -> None:
    """Wait until a process has written one of some signs to its log."""
    deadline = time.monotonic() + _READY_S
    while not any(sign in process.log.read_bytes() for sign in signs):
        if process.popen.poll() is not None or time.monotonic() > deadline:
            raise TestbedError(f"{process.name} did not start: {_tail(process.log)}")
        time.sleep(0.01)


def _tail(log: Path, lines: int = 8) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.strip().splitlines()[-lines:]) or "its log is empty"
