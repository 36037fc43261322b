"""A stem: a process of a run that has loaded our programs and forks one whenever it is wanted.

A run starts eight programs of ours, and each that is started anew spends 0.1 to 0.3 s of a core on loading modules that
the run has loaded already. A program that is forked instead finds what `python -m` would have given it: the arguments
and their place in `/proc`, the environment, the streams, no other descriptor, Python's own signal handlers, one thread.

The stem has one thread and none of the run's files. What it forks becomes a child of the run: its parent ends at once,
and orphans of a sandbox belong to the sandbox's first program.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from testbed import proc
from testbed.errors import TestbedError
from testbed.net import inside, title

_MOST_BYTES = 1 << 17
_FIRST_LOOK_S, _LAST_LOOK_S = 0.0005, 0.05
_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Forked:
    """A program that was forked, as `subprocess.Popen` is one that was started; any thread may ask."""

    def __init__(self, argv: Sequence[str], pid: int, stdout: IO[bytes] | None) -> None:
        self.args, self.pid, self.stdout = list(argv), pid, stdout
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit status, negative if a signal ended it; None while it runs."""
        with self._lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if ended else None
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status; `subprocess.TimeoutExpired` after some seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause_s = _FIRST_LOOK_S
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_LOOK_S)
        return status

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)


class Stem:
    """A context manager, for the first program of a sandbox while it has one thread.

    `modules` are loaded in the stem's own time. A module that isn't among them can be forked all the same, and is
    loaded by its own process.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._lock = threading.Lock()

    def __enter__(self) -> Stem:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = inside.child(lambda: _serve(theirs, self._modules), keeping=theirs.fileno())
        theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        os.waitpid(self._pid, 0)

    def start(
        self, argv: Sequence[str], holder: int, *, log_path: Path, env: Mapping[str, str], piped: bool
    ) -> Forked:  # fmt: skip
        """Fork `argv`, a command of `proc.module`, into the net and the mounts of the process `holder`.

        Its output goes to a log, as in `proc.spawn`; with `piped` what it says on standard output can be read instead.
        """
        with log_path.open("ab") as log, contextlib.ExitStack() as stack:
            log.write(f"$ {shlex.join(argv)}\n".encode())
            log.flush()
            reading, writing = os.pipe() if piped else (None, os.dup(log.fileno()))
            stack.callback(os.close, writing)
            stdout = None if reading is None else os.fdopen(reading, "rb")
            request = {"argv": list(argv), "holder": holder, "env": dict(env), "cwd": str(Path.cwd())}
            return Forked(argv, self._ask(request, [writing, log.fileno()]), stdout)

    def _ask(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        try:
            with self._lock:
                socket.send_fds(self._socket, [json.dumps(request).encode()], list(descriptors))
                answer = json.loads(self._socket.recv(_MOST_BYTES) or '{"failed": "it has ended"}')
        except OSError as error:
            answer = {"failed": str(error)}
        if "failed" in answer:
            raise TestbedError(f"`{shlex.join(request['argv'])}` could not be forked: {answer['failed']}")
        return int(answer["pid"])


def _serve(requests: socket.socket, modules: Sequence[str]) -> int:
    """Be a stem until the run closes its end."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C is the run's
    for number in _OURS:
        signal.signal(number, signal.SIG_IGN)
    for name in modules:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that a child's first collection doesn't copy every page
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _MOST_BYTES, 2)
        if not message:
            return 0
        answer: dict[str, Any]
        try:
            answer = {"pid": _fork(json.loads(message), descriptors)}
        except (OSError, ValueError) as error:
            answer = {"failed": str(error)}
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(json.dumps(answer).encode())


def _fork(request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
    """Fork a program whose parent has ended when this returns; return its process number."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        inside.leave(lambda: _part(request, descriptors, writing))
    os.close(writing)
    with os.fdopen(reading) as told:
        pid = told.read()
    os.waitpid(between, 0)
    if not pid:
        raise OSError("no process could be made; see the log of the run")
    return int(pid)


def _part(request: Mapping[str, Any], descriptors: Sequence[int], telling: int) -> int:
    between = os.getpid()
    pid = os.fork()
    if pid == 0:
        while os.getppid() == between:
            time.sleep(_FIRST_LOOK_S)
        inside.leave(lambda: _be(request, descriptors), failed=1)
    os.write(telling, str(pid).encode())
    return 0


def _be(request: Mapping[str, Any], descriptors: Sequence[int]) -> int:
    """Be `python -m MODULE ARGUMENTS` to the end; return its exit status."""
    argv = request["argv"]
    os.setpgid(0, 0)
    output, errors = descriptors
    for number, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, errors)):
        os.dup2(descriptor, number)
    inside.join(request["holder"])
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for each in _OURS:
        signal.signal(each, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    title.take(argv)
    name, *sys.argv[1:] = proc.module_of(argv)
    try:
        return _status_of(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True), forgetting=name)
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise


def _status_of(program: Callable[[], object], *, forgetting: str) -> int:
    """Return the exit status that Python would end with after a program; what ends it otherwise is raised."""
    for loaded in (forgetting, f"{forgetting}.__main__"):
        if not hasattr(sys.modules.get(loaded), "__path__"):
            sys.modules.pop(loaded, None)  # it is run, not used
    try:
        program()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    finally:
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
    return 0
