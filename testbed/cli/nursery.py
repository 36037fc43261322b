"""A program that has loaded all a run needs, and forks whenever one is wanted: `python -m testbed.cli.nursery`.

A run that is started anew spends a second of a core on loading the same modules; where a matrix starts forty, that is
what keeps the machine from carrying them. Each child does what `testbed ARGUMENTS` would, in its own process group.

JSON lines: `{"argv": […], "log": PATH, "cwd": PATH}` is answered by `{"pid": N}`, `{"pid": N, "signal": S}` by nothing;
the end of a child is told by `{"pid": N, "status": S}`, S negative for a signal. It ends when its input does, its
children with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
from typing import Any, NoReturn

from testbed.cli import live, main
from testbed.errors import MachineError
from testbed.net import inside
from testbed.net.fabric import find_mininet
from testbed.report import html
from testbed.run.live import PROGRAMS

_LOADED = (
    "testbed.cli.run", "testbed.cli.tool", "testbed.run.live", "testbed.run.player", "testbed.run.trial",
    "rich.emoji", "cryptography.hazmat.backends.openssl.backend", *PROGRAMS,
)  # fmt: skip
_POLL_S = 0.02


def serve() -> None:
    """Answer requests until there are no more."""
    _load()
    _say({"ready": True})
    children: set[int] = set()
    waiting = b""
    while True:
        if select.select([0], [], [], _POLL_S)[0]:
            read = os.read(0, 1 << 16)
            if not read:
                return
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                _answer(json.loads(line), children)
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.discard(pid)
                _say({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _load() -> None:
    path = list(sys.path)
    with contextlib.suppress(MachineError):  # each run says what is missing
        find_mininet()
    sys.path[:] = path  # what a run forks must find no more than it would alone
    for name in _LOADED:
        importlib.import_module(name)
    html.template()
    gc.collect()
    gc.freeze()  # so that a child's first collection doesn't copy every page


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _answer(request: dict[str, Any], children: set[int]) -> None:
    if "signal" in request:
        if request["pid"] in children:  # else it has ended, and its number may be somebody else's
            os.kill(request["pid"], request["signal"])
        return
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be(request, parent)
    children.add(pid)
    _say({"pid": pid})


def _be(request: dict[str, Any], parent: int) -> NoReturn:
    """Be `testbed ARGUMENTS`."""
    status = 4
    try:
        inside.die_with(parent)
        os.setpgid(0, 0)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
            os.dup2(descriptor, number)
        os.chdir(request["cwd"])
        sys.argv = ["testbed", *request["argv"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        live.forks = True
        main.main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the matrix, which then ends its runs
    serve()
