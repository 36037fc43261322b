"""SIGKILL of any process of a run leaves nothing behind, and a run that lost a part of itself is never passed.

Each case is a run of its own, several at once: they have the same node names and don't meet.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.live
_SCENARIO = """scenario: victim
title: Would pass if nobody killed it
duration: 60 s
policy: open
apps:
  - {name: name, app: dns, every: 1 s, params: {name: any.example}}
expect:
  - {phase: start, app: name, verdict: ok}
"""
#: what is killed → a part of its command line
PARTS = {
    "gateway": "testbed.middlebox.box", "link": "testbed.middlebox.pipe", "caddy": "caddy run",
    "unbound-resolver": "resolver.conf", "zone": "testbed.world.zone", "backend": "testbed.world.backend",
    "capture of gateway": "gateway-inside.pcap", "node": "mininet:client2",
}  # fmt: skip
_KINDS = ("net", "mnt", "pid")
WHOLE = {"runner": "", "unshare": "unshare", "first": "testbed.run.live"}


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _processes() -> dict[int, int]:
    """Return each process of the machine and its parent."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")):
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def _descendants(root: int) -> Iterator[int]:
    parents = _processes()
    inside = {root}
    while more := {child for child, parent in parents.items() if parent in inside} - inside:
        inside |= more
    yield from inside


def _namespaces(pids: Iterable[int]) -> set[str]:
    """Return the namespaces of processes, without our own."""
    mine = {_link(f"/proc/self/ns/{kind}") for kind in _KINDS}
    return {_link(f"/proc/{pid}/ns/{kind}") for pid in pids for kind in _KINDS} - mine - {""}


@contextmanager
def _held(pids: Iterable[int]) -> Iterator[set[str]]:
    """Keep the namespaces of processes open and yield their names: the kernel gives the number of one that went to
    the next that comes, of another run."""
    with ExitStack() as stack:
        names = set()
        for path in [f"/proc/{pid}/ns/{kind}" for pid in pids for kind in _KINDS]:
            with suppress(OSError):  # the process went in between
                held = stack.enter_context(Path(path).open("rb"))
                names.add(_link(f"/proc/self/fd/{held.fileno()}"))
        yield names - {_link(f"/proc/self/ns/{kind}") for kind in _KINDS}


def _kill_one(folder: Path, part: str) -> tuple[int, str, dict[str, object], set[str]]:
    """Start a run, kill one process of it; return exit status, standard error, result, and namespaces still alive."""
    folder.mkdir()
    (folder / "victim.yaml").write_text(_SCENARIO)
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "run", "victim.yaml", "--into", "run"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        results = folder / "run" / "apps" / "name.jsonl"
        deadline = time.monotonic() + 60
        while not (results.exists() and results.stat().st_size):
            assert process.poll() is None and time.monotonic() < deadline, "the run did not come up"
            time.sleep(0.1)
        inside = list(_descendants(process.pid))
        wanted = {**PARTS, **WHOLE}[part]
        # the first of several: unshare and PID 1 are nearer to the runner than what they started
        victim = (
            process.pid if not wanted else min(pid for pid in inside if wanted in _read(Path(f"/proc/{pid}/cmdline")))
        )
        with _held(inside) as spaces:
            assert len(spaces) > 20  # a net and a mount namespace for each node
            os.kill(victim, signal.SIGKILL)
            _, told = process.communicate(timeout=20)
            deadline = time.monotonic() + 5
            while (left := _namespaces(_processes()) & spaces) and time.monotonic() < deadline:
                time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    result = folder / "run" / "result.json"
    return process.returncode, told, json.loads(result.read_text()) if result.exists() else {}, left


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[int, str, dict[str, object], set[str]]]]:
    root = tmp_path_factory.mktemp("killed")
    devices = Path("/proc/net/dev").read_text().count("\n")
    names = [*PARTS, *WHOLE]
    with ThreadPoolExecutor(4) as pool:
        found = dict(
            zip(names, pool.map(lambda name: _kill_one(root / name.replace(" ", "-"), name), names), strict=True)
        )
    assert Path("/proc/net/dev").read_text().count("\n") == devices
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    yield found


@pytest.mark.parametrize("part", [*PARTS, *WHOLE])
def test_nothing_is_left(killed: dict[str, tuple[int, str, dict[str, object], set[str]]], part: str) -> None:
    assert killed[part][3] == set()


@pytest.mark.parametrize("part", PARTS)
def test_without_a_part_a_run_is_invalid_and_says_which(
    killed: dict[str, tuple[int, str, dict[str, object], set[str]]], part: str
) -> None:
    status, told, result, _ = killed[part]
    assert status == 3, told
    assert result["status"] == "invalid"
    named = "the node client2 was killed" if part == "node" else f"{part} ended with status -9"
    assert named in str(result["why"])


@pytest.mark.parametrize("part", ["unshare", "first"])
def test_without_its_sandbox_a_run_is_invalid(
    killed: dict[str, tuple[int, str, dict[str, object], set[str]]], part: str
) -> None:
    status, told, result, _ = killed[part]
    assert (status, result) == (3, {})
    assert "the sandbox was killed" in told
