"""Runs a circumvention tool in a country that is up: its server in one node, its client in another.

A program that doesn't start, crashes or hangs ends in a `ToolError` with the last lines of its log. `stop` ends what is
still there, its children too, by force if it must.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from testbed import proc
from testbed.errors import MachineError, UnfaithfulError
from testbed.net import ports, probes
from testbed.tools import detached
from testbed.tools.logs import BoundedLog, last_lines
from testbed.tools.recipe import Launch, Recipe
from testbed.tools.render import Place, Rendered, render

_POLL_S, _PATIENCE_S, _SETUP_S = 0.02, 1.0, 60.0


class ToolError(UnfaithfulError):
    """A tool's program did not do what its recipe says."""


class PortTakenError(ToolError):
    """Something else holds the port that a program is to listen on: no censor's doing."""


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


def own_folder() -> Path:
    """Return where `testbed tool install` puts programs: `$TESTBED_TOOLS`, or a folder in the user's home."""
    return Path(os.environ.get("TESTBED_TOOLS") or Path.home() / ".local/share/turkmenistan-testbed/bin")


def search_path() -> str:
    """Return where tools are looked for: the testbed's own folder, the venv, then the machine's PATH."""
    beside = str(Path(sys.executable).parent)
    return os.pathsep.join([str(own_folder()), beside, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def lacking(recipe: Recipe) -> dict[str, str]:
    """Return the programs and files that a recipe needs and that are not there, with the way to get each."""
    needs, path = recipe.needs, search_path()
    programs = {name: remedy for name, remedy in needs.programs.items() if shutil.which(name, path=path) is None}
    return programs | {name: remedy for name, remedy in needs.files.items() if not Path(name).exists()}


def missing(recipe: Recipe) -> list[str]:
    """Return what this machine lacks for a recipe, each with the way to get it; empty if it can be run."""
    found = [
        f"the {'file' if name in recipe.needs.files else 'program'} `{name}` is not installed ({remedy})"
        for name, remedy in lacking(recipe).items()
    ]
    wanted = [probe for probe in probes.PROBES if probe.name in recipe.needs.features]
    return found + [
        f"the kernel lacks {finding.probe.name} ({finding.probe.remedy})"
        for finding in probes.examine(wanted)
        if not finding.works
    ]


@dataclass(slots=True)
class _Program:
    launch: Launch
    node: str
    process: subprocess.Popen[bytes]
    log: BoundedLog
    mark: str
    """What its children are known by, wherever they go."""


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
    _server: list[_Program] = field(init=False, default_factory=list)
    _client: list[_Program] = field(init=False, default_factory=list)
    _resolver: str | None = field(init=False, default=None)

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
        rendered = render(self.recipe, place, options or {})
        self.rendered = replace(rendered, wrapper=placed(rendered.wrapper), command=placed(rendered.command))
        for argv in self.rendered.setup:
            in_folder = ["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *placed(argv)]
            done = self.net.run(self.server_node, in_folder, check=False, timeout_s=_SETUP_S)
            if done.status:
                said = last_lines(done.stderr or done.stdout)
                raise ToolError(f"{self.name}: setting up, `{argv[0]}` ended with status {done.status}: {said}")
        for name, text in self.rendered.files.items():
            path = self.folder / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o700 if text.startswith("#!") else 0o600)

    def start_server(self) -> None:
        """Start the server's side and wait until it is ready; if it can't be, nothing of it stays."""
        try:
            for launch in self.rendered.server:
                self._await(self._start(launch, self.server_node, self._server))
        except BaseException:
            self.stop()
            raise

    def start_client(self, *, wait: bool = True) -> None:
        """Start the client's side; without `wait` only what stands before a step done once must be ready.

        Such a step may work on it (an address for a device). The programs behind are then not looked at again.
        """
        last = max((number for number, launch in enumerate(self.rendered.client) if launch.once), default=-1)
        for number, launch in enumerate(self.rendered.client):
            program = self._start(launch, self.client_node, self._client)
            if wait or number <= last:
                self._await(program)
        if self.rendered.dns is not None:
            self._resolver = self._point_to(f"nameserver {self.rendered.dns}\noptions timeout:5 attempts:2\n")

    def _point_to(self, resolver: str) -> str:
        """Write the client's resolver into the file that is bound over `/etc/resolv.conf`; return what it was."""
        path = self.folder.parent / "hosts" / self.client_node / "resolv.conf"
        before = path.read_text(encoding="utf-8")
        path.write_text(resolver, encoding="utf-8")  # in place: the bind mount holds on to the inode
        return before

    def log(self, launch: Launch) -> Path:
        """The log of one program."""
        return self.logs / f"tool-{self.name}-{launch.name}.log"

    def _start(self, launch: Launch, node: str, running: list[_Program]) -> _Program:
        listens = launch.ready.listens
        if listens is not None and listens in ports.listening(self.net.pid(node)):
            raise PortTakenError(f"{self.name}: {launch.name} can't start: {listens} of {node} is in use already")
        argv = placed(launch.argv)
        if "/" not in argv[0]:
            raise MachineError(f"{self.name}: the program `{argv[0]}` is not installed", "`testbed tool install` it")
        mark = f"{self.folder}:{launch.name}"
        env = {"PATH": search_path(), **launch.env, detached.MARK: mark}
        log = self.log(launch)
        process = self.net.popen(node, argv, log_path=log, env=env, cwd=str(self.folder), stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)  # fmt: skip
        assert process.stdout is not None
        program = _Program(launch, node, process, BoundedLog(process.stdout, log), mark)
        running.append(program)
        return program

    def _await(self, program: _Program) -> None:
        launch = program.launch
        deadline = time.monotonic() + launch.ready.within
        while not self._is_ready(program):
            status = program.process.poll()
            if status is not None and not self._is_ready(program):
                raise ToolError(self._obituary(program, status))
            if time.monotonic() > deadline:
                late = f"{launch.name} is not ready after {launch.ready.within:g} s: {self._not_ready(program)}"
                raise ToolError(f"{self.name}: {late}; {self._said(program)}")
            time.sleep(_POLL_S)

    def _not_ready(self, program: _Program) -> str:
        """Say what a program that is waited for has not done."""
        ready = program.launch.ready
        open_ports = ports.listening(self.net.pid(program.node))
        if program.launch.once:
            return "it has not ended"
        if ready.listens is not None and ready.listens not in open_ports:
            others = f", only on {', '.join(sorted(open_ports))}" if open_ports else ""
            return f"nothing listens on {ready.listens} of {program.node}{others}"
        if ready.says is not None and not re.search(ready.says, program.log.text(), re.MULTILINE):
            return f"its log has no line like `{ready.says}`"
        return f"`{' '.join(ready.succeeds or ())}` does not succeed"

    def _is_ready(self, program: _Program) -> bool:
        ready = program.launch.ready
        status = program.process.poll()
        if program.launch.once and status != 0:
            return False
        if status is not None and status != 0:
            return False
        if ready.listens is not None and ready.listens not in ports.listening(self.net.pid(program.node)):
            return False
        if ready.says is not None and not re.search(ready.says, program.log.text(), re.MULTILINE):
            return False
        return ready.succeeds is None or self._succeeds(program.node, ready.succeeds)

    def _succeeds(self, node: str, argv: Sequence[str]) -> bool:
        return self.net.run(node, placed(argv), check=False, timeout_s=5).status == 0

    def _said(self, program: _Program) -> str:
        return last_lines(program.log.text())

    def said(self) -> dict[str, str]:
        """Return the last words of each program that runs or ran since the last stop, the silent ones left out."""
        found: dict[str, str] = {}
        for program in (*self._server, *self._client):
            if program.log.text().strip():
                status = program.process.poll()
                ended = "" if status is None or program.launch.once else f" ({_how(status)})"
                found[f"{program.launch.name}{ended}"] = self._said(program)
        return found

    def _obituary(self, program: _Program, status: int) -> str:
        program.log.close()
        return f"{self.name}: {program.launch.name} {_how(status)}: {self._said(program)}"

    def died(self) -> list[str]:
        """Return which programs ended though they should run on, with their last words."""
        return [
            self._obituary(program, status)
            for program in (*self._server, *self._client)
            if not program.launch.once
            and (status := program.process.poll()) is not None
            and (status or not self._serves(program))
        ]

    def _serves(self, program: _Program) -> bool:
        """Whether something of a program that ended well still does its work, as a daemon's child."""
        listens = program.launch.ready.listens
        return listens is None or listens in ports.listening(self.net.pid(program.node))

    def stop_client(self) -> None:
        """End the client's side and give the host its resolver back."""
        if self._resolver is not None:
            self._point_to(self._resolver)
            self._resolver = None
        _end(self._client)
        self._client = []

    def stop(self) -> None:
        """End everything of this tool."""
        self.stop_client()
        _end(self._server)
        self._server = []


def _how(status: int) -> str:
    """Say how a program ended."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _end(programs: Sequence[_Program]) -> None:
    marks = {program.mark for program in programs}
    if marks:
        detached.ask(marks, {program.process.pid for program in programs})
    end(program.process for program in programs)
    if marks:
        detached.end(marks)
    for program in programs:
        program.log.close()


def end(processes: Iterable[proc.Program], patience_s: float = _PATIENCE_S) -> None:
    """End processes and their groups: politely, then by force."""
    known = list(processes)
    for process in known:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    for process in known:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.01, deadline - time.monotonic()))
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: proc.Program, number: signal.Signals) -> None:
    """Signal a program's whole group, which it leads; what it started may outlive it."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        process.send_signal(number)


def placed(argv: Sequence[str]) -> tuple[str, ...]:
    """Replace a program's name by its place: `mnexec` looks only where the machine's PATH says.

    A relative one is looked for where the command was called, not in the tool's folder.
    """
    found = shutil.which(argv[0], path=search_path()) if argv else None
    return (str(Path(found).absolute()), *argv[1:]) if found else tuple(argv)
