"""The part of `test_stem` that runs as the first program of a sandbox: `python -m tests.live.stem_inside FOLDER`."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from testbed import proc
from testbed.net.stem import Stem

_NEW_NET_AND_MOUNTS = 0x40020000


def _holder() -> subprocess.Popen[bytes]:
    """Return a process with a net and mounts of its own, as a node's shell is one."""
    ready = "import ctypes, signal, sys; ctypes.CDLL(None).unshare(int(sys.argv[1])); print(flush=True); signal.pause()"
    holder = subprocess.Popen([sys.executable, "-c", ready, str(_NEW_NET_AND_MOUNTS)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


def _both(stem: Stem, holder: int, folder: Path) -> dict[str, Any]:
    """Return what a program sees that is started anew, and what it sees when it is forked."""
    argv = proc.module("tests.live.mirror", "a b", "ü", "0")
    env = {**os.environ, "OF_ITS_OWN": "1"}
    env.pop("SHLVL", None)
    anew = proc.spawn(["mnexec", "-a", str(holder), *argv], log_path=folder / "anew.log", env=env)
    forked = stem.start(argv, holder, log_path=folder / "forked.log", env=env, piped=False)
    statuses = [anew.wait(20), forked.wait(20)]
    return {
        "statuses": statuses,
        **{name: json.loads((folder / f"{name}.log").read_text().splitlines()[-1]) for name in ("anew", "forked")},
        "first_line": (folder / "forked.log").read_text().splitlines()[0],
    }


def _ends(stem: Stem, holder: int, folder: Path) -> dict[str, Any]:
    """Return how forked programs end: their status and the last line that they wrote."""
    found: dict[str, Any] = {}
    for how in ("7", "text", "error"):
        log = folder / f"end-{how}.log"
        status = stem.start(
            proc.module("tests.live.mirror", how), holder, log_path=log, env=os.environ, piped=False
        ).wait(20)  # fmt: skip
        found[how] = [status, log.read_text().splitlines()[-1]]
    log = folder / "end-wait.log"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        program = stem.start(proc.module("tests.live.mirror", "wait"), holder, log_path=log, env=os.environ, piped=True)
        assert program.stdout is not None
        program.stdout.readline()
        before = program.poll()
        program.send_signal(number)
        found[number.name] = [before, program.wait(20), program.stdout.read().decode()]
        program.kill()  # what has ended can't be hit
    return found


def main(folder: Path) -> None:
    """Try the stem and print what came of it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    with Stem(["testbed.middlebox.box", "tests.live.mirror"]) as stem:
        holder = _holder()
        found: dict[str, Any] = {"both": _both(stem, holder.pid, folder), "ends": _ends(stem, holder.pid, folder)}
        try:
            stem.start(proc.module("tests.live.mirror", "0"), 99_999, log_path=folder / "gone.log", env={}, piped=False)
            found["gone"] = (folder / "gone.log").read_text()
        finally:
            holder.kill()
            holder.wait()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
