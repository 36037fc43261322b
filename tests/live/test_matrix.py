"""Matrices with real runs: side by side here, over a real cluster, cut short, and never leaving anything behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import COMMAND

pytestmark = pytest.mark.live
_DEADLINE_S = 100.0
#: where a Dask worker keeps its files, below its own folder
_SCRATCH = "dask-scratch-space"
SHORT = (
    "scenario: short\ntitle: A page without a link\nlink: none\npolicy: open\nduration: 2 s\n"
    'apps:\n  - {name: page, app: web, params: {url: "https://news.example/"}}\n'
    "expect:\n  - {phase: start, app: page, verdict: ok}\n"
)
FILES = {
    "short.yaml": SHORT,
    "long.yaml": SHORT.replace("short", "long").replace("2 s", "300 s"),
    "wall.yaml": "policy: wall\ntitle: A wall of our own\nrules:\n  - name: news\n"
                 "    match: {sni: {lists: [ours.txt]}}\n"
                 "    action: {rst: {to: both}}\n    evidence: {mark: U, source: a test}\n",
    "lists/ours.txt": "=news.example\n",
    "absent.yaml": "recipe: absent\ntitle: Nobody has it\nneeds: {programs: {nobody-has-this: by hand}}\nuse: {}\n",
    "m.yaml": "matrix: m\ntitle: M\nscenarios: [./short.yaml]\npolicies: [open, ./wall.yaml]\n"
              "include: [{tool: ./absent.yaml, policy: open}]\nexpect:\n  - {policy: wall, outcome: failed}\n",
    "two.yaml": "matrix: two\ntitle: Two\nscenarios: [./short.yaml]\npolicies: [./wall.yaml]\nseeds: 1-2\n"
                "expect: [{outcome: failed}]\n",
    "endless.yaml": "matrix: endless\ntitle: E\nscenarios: [./short.yaml, ./long.yaml]\n",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Write a user's folder with matrices and what they name."""
    folder = tmp_path / "home"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def started(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "matrix", *arguments], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def called(home: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    process = started(home, *arguments, "--json")
    out, err = process.communicate(timeout=_DEADLINE_S * 2)
    assert out, err
    return process.returncode, json.loads(out)


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"no {what} within {_DEADLINE_S:g} s")


def naming(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def family(pid: int) -> set[tuple[int, str]]:
    """Return a process's descendants, each with the time it was started, by which a number used again is told apart."""
    found = {(pid, _start(pid))}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            found |= family(int(child))
    return found


def _start(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def survivors(processes: set[tuple[int, str]]) -> set[tuple[int, str]]:
    found = set()
    for pid, start in processes:
        with contextlib.suppress(OSError):
            found |= {(pid, start)} if _start(pid) == start else set()
    return found


def outcomes(result: dict[str, Any]) -> dict[str, tuple[str, bool | None]]:
    return {cell["cell"]: (cell["outcome"], cell["holds"]) for cell in result["cells"]}


def test_side_by_side_and_a_second_time_only_what_proved_nothing(home: Path) -> None:
    status, result = called(home, "m.yaml")
    assert outcomes(result) == {
        "short+open+1": ("passed", True), "short+wall+1": ("failed", True), "absent+open+1": ("skipped", None),
    }, result  # fmt: skip
    assert status == 3, "a missing program is never passed"
    out = home / "runs" / "m"
    assert (out / "cells" / "short+wall+1" / "run" / "result.json").exists()
    status, again = called(home, "m.yaml")
    assert {cell["cell"]: cell["reused"] for cell in again["cells"]} == {
        "short+open+1": True, "short+wall+1": True, "absent+open+1": False,
    }  # fmt: skip


@pytest.mark.alone  # its second run is started only while the machine is calm
def test_an_interrupt_keeps_what_is_finished_and_leaves_nothing(home: Path) -> None:
    process = started(home, "endless.yaml", "--json")
    out = home / "runs" / "endless"
    wait_for("outcome", (out / "cells" / "short+1" / "outcome.json").exists)
    wait_for("long run", (out / "cells" / "long+1" / "run" / "control" / "run.sock").exists)
    everybody = family(process.pid)
    assert len(everybody) > 20, "a country of processes"
    os.kill(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == 130
    assert survivors(everybody) == set()
    assert outcomes(json.loads(text)) == {"short+1": ("passed", True), "long+1": ("missing", None)}
    killed = started(home, "endless.yaml", "--only", "long*", "--out", "again")
    wait_for("long run", (home / "again" / "cells" / "long+1" / "run" / "control" / "run.sock").exists)
    everybody = family(killed.pid)
    killed.kill()
    killed.communicate()
    wait_for("end of all it had started", lambda: not survivors(everybody))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[tuple[subprocess.Popen[bytes], Path]]]]:
    """Start a scheduler and two workers on loopback, each with a folder of its own."""
    scheduler = tmp_path / "scheduler.json"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    python = [sys.executable, "-P", "-m"]
    processes = [subprocess.Popen(
        [*python, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(scheduler)], **quiet,
    )]  # fmt: skip
    address = json.loads(wait_for("scheduler", lambda: scheduler.exists() and scheduler.read_text()))["address"]
    workers = []
    for number in (1, 2):
        folder = tmp_path / f"worker{number}"
        workers.append((subprocess.Popen(
            [*python, "distributed.cli.dask_worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny",
             "--no-dashboard", "--local-directory", str(folder)], **quiet,
        ), folder))  # fmt: skip
    processes += [worker for worker, _ in workers]
    try:
        yield address, workers
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_a_cluster_loses_a_worker_and_no_run(
    home: Path, cluster: tuple[str, list[tuple[subprocess.Popen[bytes], Path]]]
) -> None:
    address, workers = cluster
    for _, folder in workers:
        wait_for("worker", folder.is_dir)
    process = started(home, "two.yaml", "--scheduler", address, "--json")
    (victim, lost), (_, kept) = workers

    def up(folder: Path) -> bool:
        return any(folder.rglob("control/gateway.sock"))

    wait_for("run on the first worker", lambda: up(lost))
    victim.kill()
    wait_for("end of what it ran", lambda: not naming(lost / _SCRATCH))
    out, err = process.communicate(timeout=_DEADLINE_S * 2)
    assert process.returncode == 0, out + err
    result = json.loads(out)
    assert outcomes(result) == {"short+wall+1": ("failed", True), "short+wall+2": ("failed", True)}
    for cell in result["cells"]:
        run = home / "runs" / "two" / "cells" / cell["cell"] / cell["run"]
        decisions = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        assert "news" in {event.get("rule") for event in decisions}, "a policy and a list that only the caller had"
    assert len({cell["where"] for cell in result["cells"]}) == 1

    endless = started(home, "endless.yaml", "--only", "long*", "--scheduler", address, "--json")
    wait_for("run on the second worker", lambda: up(kept))
    os.kill(endless.pid, signal.SIGINT)
    assert endless.communicate(timeout=_DEADLINE_S) and endless.returncode == 130
    wait_for("end of the cancelled run", lambda: not naming(kept / _SCRATCH) and not list(kept.rglob("run")))
