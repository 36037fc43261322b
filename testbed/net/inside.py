"""A sandbox entered by forking: this very program goes on inside, with all it has loaded already.

What `unshare` does for a program that is started (`sandbox.unshare_argv`), done for one that runs: the namespaces, then
a child that is their first program, dies with its parent, and has a `/proc` of its own. Bringing up a run costs a
second of a core less where forty are brought up from one program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Held:
    """The process that holds a sandbox, as `unshare` would be."""

    pid: int

    def wait(self) -> int:
        """Return its exit status, negative if a signal ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork(program: Callable[[], int], *, rootless: bool) -> Held:
    """Start a program as the first of a fresh sandbox; return what holds it.

    The program returns its exit status. Call it from a program of one thread only.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        leave(lambda: _hold(program, parent, rootless=rootless))
    return Held(pid)


def child(program: Callable[[], int], *, keeping: int) -> int:
    """Fork a process that has no stream but standard error and no descriptor but `keeping`; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.closerange(3, keeping)
        os.closerange(keeping + 1, os.sysconf("SC_OPEN_MAX"))
        leave(program)
    return pid


def join(holder: int) -> None:
    """Take this process into the net and the mounts that another one is in, as `mnexec -a` does."""
    for kind in ("net", "mnt"):
        with _namespace(f"/proc/{holder}/ns/{kind}") as theirs:
            _set(theirs)


@contextlib.contextmanager
def visiting(holder: int) -> Iterator[None]:
    """Take this thread into the net that a process is in, and back again; sockets belong to where they were made."""
    with _namespace("/proc/thread-self/ns/net") as own, _namespace(f"/proc/{holder}/ns/net") as theirs:
        _set(own)  # what may not come back must not leave
        _set(theirs)
        try:
            yield
        finally:
            _set(own)


@contextlib.contextmanager
def _namespace(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set(namespace: int) -> None:
    _checked(_LIBC.setns(namespace, 0), "setns")


def leave(what: Callable[[], int], *, failed: int = 4) -> NoReturn:
    """Do something and end this process with its status, or `failed`; nothing of the parent's is run here."""
    status = failed
    try:
        status = what()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def die_with(parent: int) -> None:
    """Have this process killed when its parent dies, or now if it has."""
    _checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def _hold(program: Callable[[], int], parent: int, *, rootless: bool) -> int:
    """Make the namespaces, start their first program, and end as it does."""
    die_with(parent)
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | (_CLONE_NEWUSER if rootless else 0)
    _checked(_LIBC.unshare(flags), "unshare")
    if rootless:
        _write("setgroups", "deny")
        _write("uid_map", f"0 {user} 1")
        _write("gid_map", f"0 {group} 1")
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    first = os.fork()
    if first == 0:
        leave(lambda: _first(program))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are the first program's
    status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _first(program: Callable[[], int]) -> int:
    _checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    return program()


def _write(name: str, text: str) -> None:
    Path("/proc/self", name).write_text(text, encoding="ascii")


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    _checked(_LIBC.mount(*texts, ctypes.c_ulong(flags), None), f"mount {target}")


def _checked(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
