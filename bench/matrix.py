"""A matrix of 40 runs of 30 s: how long it takes, against the longest single run, and what the machine went through.

Run inside a checkout as `.venv/bin/python bench/matrix.py [RUNS]`. Runs a single one first, then the matrix, and prints
both times, their ratio (bound 2.5 on two cores), how many ran side by side, and what was spoilt and repeated. The runs
do what most do, wait: a page over the national link every ten seconds, behind the censor of 2022.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SCENARIO = """scenario: page
title: A page every ten seconds behind the censor of 2022
duration: 30 s
link: national-2021
policy: tm-2022
apps:
  - {name: page, app: web, every: 10 s, params: {url: "https://science.gov.tm/bytes/20000"}}
  - {name: blocked, app: web, start: 5 s, every: 10 s, params: {url: "https://twitter.com/"}}
expect:
  - {phase: start, app: page, verdict: ok, at_least: 3}
  - {phase: start, app: blocked, verdict: blocked, at_least: 2}
"""
MATRIX = "matrix: bench\ntitle: Many runs that wait\nscenarios: [./page.yaml]\nseeds: 1-{runs}\n"
BOUND = 2.5


def played(folder: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run the matrix; return how long it took, in seconds, and its result."""
    command = [sys.executable, "-P", "-m", "testbed.cli.main", "matrix", "matrix.yaml", "--fresh", "--json", *arguments]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    return time.monotonic() - begun, json.loads(done.stdout)


class Watch(threading.Thread):
    """Looks at memory, load and the number of sandboxes once a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.least_free_bytes, self.most_runs = 1 << 62, 0

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(1.0):
            sizes = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
            self.least_free_bytes = min(self.least_free_bytes, int(sizes["MemAvailable"].split()[0]) << 10)
            spaces = {_pids_of(path) for path in Path("/proc").glob("[0-9]*")} - {"", _pids_of(Path("/proc/self"))}
            self.most_runs = max(self.most_runs, len(spaces))


def _pids_of(process: Path) -> str:
    """Return the PID namespace of a process, of which each sandbox has its own; empty if it is gone."""
    try:
        return str((process / "ns" / "pid").readlink())
    except OSError:
        return ""


def main(runs: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="testbed-bench-") as name:
        folder = Path(name)
        (folder / "page.yaml").write_text(SCENARIO)
        (folder / "matrix.yaml").write_text(MATRIX.format(runs=runs))
        _, alone = played(folder, "--only", "page+1", "--out", "alone")
        single = alone["cells"][0]
        watch = Watch()
        watch.start()
        cpu, free = os.times(), watch.least_free_bytes
        took, result = played(folder, "--out", "all")
        watch.over.set()
        used = os.times()
        free = watch.least_free_bytes
    cells = result["cells"]
    longest = max(cell["took_s"] for cell in cells)
    worst = max(cell["lag"]["worst_s"] for cell in cells)
    seconds = used.children_user + used.children_system - cpu.children_user - cpu.children_system
    print(f"{runs} runs in {took:.1f} s: {took / single['took_s']:.2f} x a single run of {single['took_s']:.1f} s, "
          f"{took / longest:.2f} x the longest of {longest:.1f} s (bound {BOUND})")  # fmt: skip
    print(f"{result['counts']}, repeated alone: {sum(cell['alone'] for cell in cells)}, most side by side: "
          f"{watch.most_runs}, worst lag {worst * 1e3:.0f} ms, {seconds / runs:.2f} s of a core each, "
          f"least free memory {free / 2**30:.1f} GiB, load {os.getloadavg()[0]:.1f}")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
