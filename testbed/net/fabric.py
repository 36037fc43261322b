"""Executes a `TopologyPlan` with Mininet: one node a namespace, cables as veth pairs, addresses, routes, settings.

Mininet makes the namespaces. Cables and settings go in one `ip -batch` and one shell script a node, because a Mininet
command an address makes a hundred hosts take a minute.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed import proc
from testbed.errors import MachineError
from testbed.net import hosts
from testbed.net.prompt import Prompt
from testbed.net.stem import Stem
from testbed.scenario.plan import Interface, Node, TopologyPlan

_DEBIAN_PACKAGES = "/usr/lib/python3/dist-packages"
_MAKERS = 4
_FIRST_NUMBER = 100
_OFFLOADS = ("tso", "gso", "gro", "tx", "rx")


def find_mininet() -> tuple[Any, Any]:
    """Return Mininet's net and node classes; Debian's copy is found from inside a venv too."""
    try:
        if _DEBIAN_PACKAGES not in sys.path:
            sys.path.append(_DEBIAN_PACKAGES)  # behind everything else: only what the venv lacks is taken from there
        from mininet.log import setLogLevel
        from mininet.net import Mininet
        from mininet.node import Node as MininetNode
    except ImportError as error:
        raise MachineError(f"Mininet can't be imported: {error}", "apt install mininet") from None
    setLogLevel("error")  # a warning about resource limits would stand in the output of `testbed exec`
    return Mininet, MininetNode


class Fabric:
    """The net of a plan; a context manager, inside the sandbox only."""

    def __init__(
        self, plan: TopologyPlan, *, run_dir: Path, trust: hosts.Trust | None = None, stem: Stem | None = None
    ) -> None:
        self.plan, self._stem = plan, stem
        self._run_dir, self._trust = run_dir, trust
        self._log = run_dir / "logs" / "fabric.log"
        self._pids: dict[str, int] = {}

    def __enter__(self) -> Fabric:
        net_class, node_class = find_mininet()
        self._net = net_class(controller=None, build=False, waitConnected=False)
        with ThreadPoolExecutor(_MAKERS) as pool:  # each waits for its shell's first prompt
            made = pool.map(lambda node: self._net.addHost(node.name, cls=node_class, ip=None), self.plan.nodes)
            self._pids = {node.name: node.pid for node in made}
        self._net.hosts.sort(key=lambda host: list(self._pids).index(host.name))
        self._lay_cables()
        self._configure()
        nodes = self._run_dir / "nodes.json"
        nodes.write_text(json.dumps(self._pids, sort_keys=True), encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for node in self._net.hosts:
            node.shell.kill()  # its namespaces go with it
            node.shell.wait()

    def _lay_cables(self) -> None:
        # no two ends with one number: of such a pair the kernel takes its time to say that it is up (linkwatch), and a
        # switch loses what comes in that second
        numbers = itertools.count(_FIRST_NUMBER)
        lines = [
            f"link add {c.interface_a} index {next(numbers)} netns {self._pids[c.node_a]} type veth "
            f"peer name {c.interface_b} index {next(numbers)} netns {self._pids[c.node_b]}"
            for c in self.plan.cables
        ]
        proc.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", log=self._log, timeout_s=60)

    def _configure(self) -> None:
        """Run every node's script at once, then say the first that failed."""
        started = []
        folder = self._run_dir / "work" / "hosts"
        for node in self.plan.nodes:
            script = "\n".join(["set -e", *self._script(node, folder)]) + "\n"
            popen = subprocess.Popen(
                ["mnexec", "-a", str(self._pids[node.name]), "sh", "-s"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            assert popen.stdin is not None
            popen.stdin.write(script)
            popen.stdin.close()
            started.append((node, popen))
        for node, popen in started:
            assert popen.stdout is not None
            said = popen.stdout.read()
            popen.stdout.close()
            if popen.wait():
                raise proc.CommandError(proc.Completed(("configure", node.name), popen.returncode, said, ""))

    def _script(self, node: Node, folder: Path) -> list[str]:
        forwards = int(node.kind in ("router", "box"))
        lines = [*self._settings(forwards)]
        batch = ["link set lo up"]
        if node.kind == "switch":
            batch.append("link add br0 type bridge forward_delay 0")
            batch.append("link set br0 up")
        for interface in node.interfaces:
            batch += self._interface(node, interface)
            if (prefix := self.plan.isolated.get(interface.name)) is not None:
                batch.append(
                    f"rule add iif {interface.name} to {prefix} blackhole"
                    if prefix
                    else f"link set {interface.name} type bridge_slave isolated on"
                )
        for prefix in node.local_prefixes:
            batch.append(f"route add local {prefix} dev lo")
        batch += [f"route add {route.to} via {route.via}" for route in node.routes]
        lines += ["ip -batch - <<'END'", *batch, "END"]
        for interface in node.interfaces:
            settings = " ".join(f"{name} off" for name in _OFFLOADS)
            lines.append(f"ethtool -K {interface.name} {settings} >/dev/null 2>&1 || true")
        if node.kind != "switch":
            lines += hosts.mount_commands(node, folder, self._trust)
        return lines

    def _settings(self, forwards: int) -> list[str]:
        """Return the lines that set up a node's kernel; the shell writes, a program for each would take a second."""
        lines = [
            f"echo {forwards} >/proc/sys/net/ipv4/ip_forward",
            "for port in /proc/sys/net/ipv4/conf/*; do echo 0 >$port/rp_filter; echo 0 >$port/send_redirects; done",
            "for way in cubic reno; do echo $way 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control && break; done",
            "echo 0 0 2>/dev/null >/proc/sys/net/ipv4/ping_group_range || true",
        ]
        if self.plan.ipv6:
            return [*lines, f"echo {forwards} >/proc/sys/net/ipv6/conf/all/forwarding"]
        return [*lines, "for port in all default; do echo 1 >/proc/sys/net/ipv6/conf/$port/disable_ipv6; done"]

    @staticmethod
    def _interface(node: Node, interface: Interface) -> list[str]:
        # no search for duplicate addresses: it would keep an IPv6 address unusable for a second
        lines = [
            f"addr add {address} dev {interface.name}{' nodad' if ':' in address else ''}"
            for address in interface.addresses
        ]
        if node.kind == "switch":
            lines.append(f"link set {interface.name} master br0")
        lines.append(f"link set {interface.name} up")
        return lines

    def pid(self, node: str) -> int:
        """Return the process that holds a node's namespaces, as seen inside the sandbox."""
        return self._pids[node]

    def dead_nodes(self) -> list[str]:
        """Return the nodes whose process was killed; what it held may be gone with it."""
        return [node.name for node in self._net.hosts if node.shell.poll() is not None]

    def environment(self, node: str) -> dict[str, str]:
        """Return the environment of programs in a node."""
        return {**os.environ, **hosts.environment(self._run_dir / "work" / "hosts" / node / "home", self._trust)}

    def start(
        self, node: str, argv: Sequence[str], *, log_path: Path, env: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> proc.Program:  # fmt: skip
        """Start a long-running program of the run in a node, one of ours by a fork where there is a stem.

        Its output goes to a log; with `piped` what it says on standard output can be read instead.
        """
        environment = {**self.environment(node), **(env or {})}
        if self._stem is not None and proc.module_of(argv):
            return self._stem.start(argv, self._pids[node], log_path=log_path, env=environment, piped=piped)
        return self.popen(node, argv, log_path=log_path, env=env, **({"stdout": subprocess.PIPE} if piped else {}))

    def popen(
        self, node: str, argv: Sequence[str], *, log_path: Path | None = None, env: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start a program in a node; its output goes to `log_path`, or where the caller says."""
        command = ["mnexec", "-a", str(self._pids[node]), *argv]
        environment = {**self.environment(node), **(env or {})}
        if log_path is not None:
            return proc.spawn(command, log_path=log_path, env=environment, **popen)
        return subprocess.Popen(command, env=environment, **popen)

    def run(self, node: str, argv: Sequence[str], *, check: bool = True, timeout_s: float = 10.0) -> proc.Completed:
        """Run a program in a node to its end."""
        command = ["mnexec", "-a", str(self._pids[node]), *argv]
        return proc.run(command, log=self._log, check=check, timeout_s=timeout_s, env=self.environment(node))

    def prompt(self) -> None:
        """Hand the terminal to the user until the prompt is left."""
        stdin = None if sys.stdin.isatty() else subprocess.DEVNULL  # a script's next lines are the prompt's
        names = {"net": self._net, **{host.name: host for host in self._net.hosts}}
        Prompt(self.plan, partial(self.popen, stdin=stdin), names).run()
