"""One run, one sandbox: fresh network, mount and PID namespaces, and a user namespace for ordinary users.

The first program inside is PID 1 of the sandbox: when it ends or is killed, the kernel ends everything else in it and
takes interfaces, mounts and rules along. The sandbox has no route out, since nothing connects it to the machine.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.errors import InputError, MachineError, Problem, UnfaithfulError
from testbed.net import inside

_PR_SET_PDEATHSIG = 1
_SYSCTLS = (
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
     "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
)  # fmt: skip


def unshare_argv(rootless: bool) -> list[str]:
    """Return the command that makes the namespaces; the program to run in them comes behind it."""
    user = ["--user", "--map-root-user"] if rootless else []
    return ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def enter(
    argv: Sequence[str], *, run_dir: Path, loaded: Callable[[], int] | None = None, prompt: bool = False
) -> int:  # fmt: skip
    """Run a program as the first of a fresh sandbox with this terminal; return its exit status.

    Ctrl-C and SIGTERM reach the program; if this process is killed the sandbox dies with it. `MachineError` if the
    kernel refuses the namespaces, `UnfaithfulError` if the sandbox was killed. With `loaded` no program is started:
    this one, which must have a single thread, forks and does that instead. A `prompt` hears a Ctrl-C once: from the
    terminal, and not from here.
    """
    rootless = os.geteuid() != 0
    check_allowed(rootless)
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    process: subprocess.Popen[bytes] | inside.Held
    if loaded is None:
        command = [*unshare_argv(rootless), *argv]
        process = subprocess.Popen(command, env=_environment(rootless), preexec_fn=die_with_parent)
    else:
        os.environ.update(_environment(rootless))
        process = inside.fork(loaded, rootless=rootless)
    _write_down(run_dir, process.pid, rootless)

    def pass_on(number: int, frame: object) -> None:
        if prompt and number == signal.SIGINT:
            return
        for child in _children(process.pid):
            os.kill(child, number)

    # from a terminal another program hears Ctrl-C twice, from a CI's cancel button once: it has to count them
    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if status < 0:  # a program inside that a signal ends shows as 128 + n: this was the sandbox itself
        raise UnfaithfulError(f"the sandbox was killed (signal {-status}): the run proves nothing")
    return status


def start(argv: Sequence[str], *, run_dir: Path, log_path: Path) -> subprocess.Popen[bytes]:
    """Start a program as the first of a fresh sandbox and return at once; its errors go to `log_path`.

    Its input is a pipe whose end tells the program that this process is gone, by which thread ever it was started; the
    main thread's end kills it besides. It stands in a process group of its own: a terminal's Ctrl-C is for its owner.
    `MachineError` if the kernel refuses the namespaces.
    """
    rootless = os.geteuid() != 0
    check_allowed(rootless)
    # the kernel's parent is the thread; by a program and not between fork and exec, where other threads' locks may hang
    bound = threading.current_thread() is threading.main_thread() and shutil.which("setpriv") is not None
    command = [*(["setpriv", "--pdeathsig", "KILL"] if bound else []), *unshare_argv(rootless), *argv]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, env=_environment(rootless), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            process_group=0,
        )  # fmt: skip
    _write_down(run_dir, process.pid, rootless)
    return process


def _environment(rootless: bool) -> dict[str, str]:
    environment = {**os.environ, "TESTBED_ROOTLESS": "1" if rootless else ""}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin:/sbin"
    return environment


def _write_down(run_dir: Path, pid: int, rootless: bool) -> None:
    (run_dir / "sandbox.json").write_text(json.dumps({"unshare": pid, "rootless": rootless}), encoding="utf-8")


def check_allowed(rootless: bool) -> None:
    """Try the namespaces; `MachineError` names the sysctl that forbids them."""
    if shutil.which("unshare") is None:
        raise MachineError("the program `unshare` is not installed", "apt install util-linux")
    if not rootless:
        return
    tried = subprocess.run([*unshare_argv(rootless), "true"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return
    for path, value, remedy in _SYSCTLS:
        setting = Path(path)
        if setting.exists() and setting.read_text().strip() == value:
            mend = f"as root: `{remedy}`, or run the same command with sudo"
            raise MachineError("this kernel refuses user namespaces to ordinary users", mend)
    raise MachineError(f"this kernel refuses the namespaces: {tried.stderr.strip()}", "run the command with sudo")


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in path.read_text().split()]
    except (OSError, ValueError):
        return []


def enter_argv(run_dir: Path, node: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` in a node of a running sandbox; `InputError` if there is none."""
    try:
        about = json.loads((run_dir / "sandbox.json").read_text(encoding="utf-8"))
        nodes = json.loads((run_dir / "nodes.json").read_text(encoding="utf-8"))
        first = _children(about["unshare"])[0]
    except (OSError, IndexError, ValueError):
        raise InputError([Problem(str(run_dir), "this run is not running", "start it, then enter it")]) from None
    if node not in nodes:
        raise InputError([Problem(node, "no such node", f"choose one of {', '.join(sorted(nodes))}")])
    user = ["--user", "--preserve-credentials"] if about["rootless"] else []
    outer = ["nsenter", "--target", str(first), *user, "--net", "--mount", "--pid"]
    return [*outer, "mnexec", "-a", str(nodes[node]), *command]
