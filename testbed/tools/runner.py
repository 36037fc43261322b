"""Runs a circumvention tool in a country that is up: its server in one node, its client in another.

A program that doesn't start, crashes or hangs ends in a `ToolError` with the last lines of its log. `stop` ends what is
still there, by force if it must.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from testbed import proc
from testbed.errors import UnfaithfulError
from testbed.net import ports, probes
from testbed.tools.recipe import Launch, Recipe
from testbed.tools.render import Place, Rendered, render

_TAIL_LINES, _POLL_S, _PATIENCE_S = 8, 0.02, 1.0


class ToolError(UnfaithfulError):
    """A tool's program did not do what its recipe says."""


class Net(Protocol):
    """The part of the fabric that tools need."""

    def popen(self, node: str, argv: Sequence[str], *, log_path: Path, **popen: Any) -> subprocess.Popen[bytes]:
        """Start a program in a node."""
        ...

    def run(self, node: str, argv: Sequence[str], *, check: bool = True, timeout_s: float = 10.0) -> proc.Completed:
        """Run a program in a node to its end."""
        ...

    def pid(self, node: str) -> int:
        """Return the process that holds a node's namespaces."""
        ...


class Issuer(Protocol):
    """The part of the run's authority that tools need."""

    @property
    def bundle(self) -> Path:
        """The authority's certificate."""
        ...

    def issue(self, names: Sequence[str]) -> tuple[Path, Path]:
        """Return chain and key for names."""
        ...


def search_path() -> str:
    """Return where tools are looked for: the testbed's own folder, the venv, then the machine's PATH."""
    own = os.environ.get("TESTBED_TOOLS") or str(Path.home() / ".local/share/turkmenistan-testbed/bin")
    return os.pathsep.join([own, str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def missing(recipe: Recipe) -> list[str]:
    """Return what this machine lacks for a recipe, each with the way to get it; empty if it can be run."""
    found = [
        f"the program `{program}` is not installed ({remedy})"
        for program, remedy in recipe.needs.programs.items()
        if shutil.which(program, path=search_path()) is None
    ]
    wanted = [probe for probe in probes.PROBES if probe.name in recipe.needs.features]
    return found + [
        f"the kernel lacks {finding.probe.name} ({finding.probe.remedy})"
        for finding in probes.examine(wanted)
        if not finding.works
    ]


@dataclass
class Tool:
    """One tool of one run."""

    recipe: Recipe
    name: str
    folder: Path
    logs: Path
    net: Net
    server_node: str
    client_node: str
    rendered: Rendered = field(init=False)
    _running: list[subprocess.Popen[bytes]] = field(init=False, default_factory=list)

    def prepare(
        self, issuer: Issuer, seed: int, addresses: tuple[str, str], options: Mapping[str, str | int] | None = None
    ) -> None:
        """Make keys, certificates and files. `addresses`: the server's and the client's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = self.recipe.certificate
        cert, key = issuer.issue(names) if names else (Path(), Path())
        place = Place(
            str(self.folder), *addresses, str(cert), str(key), str(issuer.bundle), sys.executable, seed
        )  # fmt: skip
        self.rendered = render(self.recipe, place, options or {})
        for argv in self.rendered.setup:
            in_folder = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *_with_path(argv)]
            self.net.run(self.server_node, in_folder, timeout_s=60)
        for name, text in self.rendered.files.items():
            path = self.folder / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o700 if text.startswith("#!") else 0o600)

    def start_server(self) -> None:
        """Start the server's side and wait until it is ready."""
        for launch in self.rendered.server:
            self._await(launch, self.server_node, self._start(launch, self.server_node))

    def start_client(self, *, wait: bool = True) -> None:
        """Start the client's side; without `wait` its programs are started and not looked at again."""
        started = []
        for launch in self.rendered.client:
            process = self._start(launch, self.client_node)
            started.append((launch, process))
            if wait:
                self._await(launch, self.client_node, process)

    def log(self, launch: Launch) -> Path:
        """The log of one program."""
        return self.logs / f"tool-{self.name}-{launch.name}.log"

    def _start(self, launch: Launch, node: str) -> subprocess.Popen[bytes]:
        env = {"PATH": search_path(), **launch.env}
        process = self.net.popen(
            node, _with_path(launch.argv), log_path=self.log(launch), env=env, cwd=str(self.folder)
        )
        self._running.append(process)
        return process

    def _await(self, launch: Launch, node: str, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + launch.ready.within
        while not self._is_ready(launch, node):
            if (status := process.poll()) not in (None, 0):
                raise ToolError(f"{self.name}: {launch.name} ended with status {status}: {self.tail(launch)}")
            if time.monotonic() > deadline:
                within = f"{launch.ready.within:g} s"
                raise ToolError(f"{self.name}: {launch.name} is not ready after {within}: {self.tail(launch)}")
            time.sleep(_POLL_S)

    def _is_ready(self, launch: Launch, node: str) -> bool:
        ready = launch.ready
        if ready.listens is not None and ready.listens not in ports.listening(self.net.pid(node)):
            return False
        if ready.says is not None and not re.search(ready.says, self.log(launch).read_text(errors="replace")):
            return False
        return ready.succeeds is None or self.net.run(node, _with_path(ready.succeeds), check=False).status == 0

    def tail(self, launch: Launch) -> str:
        """Return the last lines of a program's log."""
        lines = self.log(launch).read_text(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        return "\n".join(lines) or "its log is empty"

    def stop(self) -> None:
        """End everything of this tool."""
        end(self._running)
        self._running = []


def end(processes: Iterable[subprocess.Popen[bytes]], patience_s: float = _PATIENCE_S) -> None:
    """End processes: politely, then by force."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + patience_s
    for process in alive:
        try:
            process.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _with_path(argv: Sequence[str]) -> list[str]:
    """Replace a program's name by its place: `mnexec` looks only where the machine's PATH says."""
    return [shutil.which(argv[0], path=search_path()) or argv[0], *argv[1:]]
