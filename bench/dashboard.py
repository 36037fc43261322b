"""The live page under a class: 30 browsers look on while 200 decisions a second are written.

Prints what the page's server costs (share of a core, memory), how long a decision takes from the box's file to the last
browser, and how busy one real Chromium page is. There is no net: the run's files are written here, at the pace a run
would, so that nothing but the page is measured. `.venv/bin/python bench/dashboard.py [BROWSERS] [EVENTS_A_SECOND]`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from testbed.run.directory import RunDirectory
from testbed.scenario.topology import TopologyShape, plan

SECONDS = 10.0
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def write_run(directory: RunDirectory, events_a_second: int, over: threading.Event) -> None:
    """Write decisions, attempts and samples until told to stop; each decision carries the moment it was written."""
    number, due = 0, time.monotonic()
    with directory.box_events("gateway").open("a") as events, directory.link_samples.open("a") as samples:
        while not over.is_set():
            number += 1
            event: dict[str, Any] = {
                "t": time.monotonic(), "box": "gateway", "rule": f"rule{number % 7}", "verdict": "pass",
                "flow": f"tcp 100.64.1.1:{number % 60000} > 198.19.3.4:443", "reason": "reset", "injections": 1,
                "evidence": {"sni": f"www.site{number}.example", "pattern": ".example", "written": time.monotonic()},
                "trigger": {"hash": f"{number:016x}"},
            }  # fmt: skip
            events.write(json.dumps(event) + "\n")
            events.flush()
            if number % max(1, events_a_second // 10) == 0:
                side = {
                    "rate_bps": 5e5, "delay_s": 0.1, "queue_bytes": number % 30000, "entered": number, "lost": 0,
                    "overflowed": 0, "arrived_bytes": number * 300,
                }  # fmt: skip
                samples.write(json.dumps({"t": time.monotonic(), "up": side, "down": side}) + "\n")
                samples.flush()
            due += 1 / events_a_second
            time.sleep(max(0.0, due - time.monotonic()))


class Browser(threading.Thread):
    """Reads the stream as a browser does, and notes how old each decision is when it comes."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.ages_s: list[float] = []
        self.decisions = self.skipped = self.received_bytes = 0
        self._stream = socket.create_connection(("127.0.0.1", port))
        self._stream.sendall(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self._over = False

    def run(self) -> None:
        buffer = b""
        while not self._over:
            data = self._stream.recv(1 << 18)
            if not data:
                return
            self.received_bytes += len(data)
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            now = time.monotonic()
            for line in lines:
                if line.startswith(b'data: {"') and b'"about"' not in line[:20]:
                    self._take(json.loads(line[6:]), now)

    def _take(self, change: dict[str, Any], now: float) -> None:
        self.skipped += change.get("skipped", 0)
        for decision in change.get("decisions", ()):
            self.decisions += 1
            self.ages_s.append(now - decision["evidence"]["written"])

    def stop(self) -> None:
        """End the thread."""
        self._over = True
        self._stream.shutdown(socket.SHUT_RDWR)


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def page_busy(address: str) -> float | None:
    """Return the share of its time that a real page's main thread works; None without Chromium."""
    if shutil.which("chromium") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def worked() -> float:
            metrics = {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}
            return float(metrics["TaskDuration"])

        page.wait_for_timeout(1000)
        before, begun = worked(), time.monotonic()
        page.wait_for_timeout(4000)
        share = (worked() - before) / (time.monotonic() - begun)
        browser.close()
        return share


def main(browsers: int, events_a_second: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory.prepared(Path(folder))
        directory.write_json(directory.plan, plan(TopologyShape(clients=30)).as_json())
        server = subprocess.Popen(
            [sys.executable, "-m", "testbed.cli.main", "dashboard", folder, "--port", "0"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\S*", server.stderr.readline())
        assert found is not None
        over = threading.Event()
        writer = threading.Thread(target=write_run, args=(directory, events_a_second, over))
        class_room = [Browser(int(found[1])) for _ in range(browsers)]
        for browser in class_room:
            browser.start()
        writer.start()
        time.sleep(1.0)
        before, begun = cpu_s(server.pid), time.monotonic()
        time.sleep(SECONDS)
        used = (cpu_s(server.pid) - before) / (time.monotonic() - begun)
        memory = resident_mb(server.pid)
        told = [browser.decisions for browser in class_room]
        skipped = max(browser.skipped for browser in class_room)
        ages = sorted(age for browser in class_room for age in browser.ages_s)
        for browser in class_room:
            browser.stop()
        busy = page_busy(found[0])
        over.set()
        writer.join()
        server.terminate()
        server.wait()
        rate = sum(browser.received_bytes for browser in class_room) / (SECONDS + 1) / browsers
    print(f"{browsers} browsers, {events_a_second} decisions a second, {SECONDS:g} s:")
    print(f"  server: {used:.1%} of a core, {memory:.0f} MB")
    print(f"  told to each browser: {min(told)}-{max(told)} decisions, {skipped} left out, {rate / 1e3:.0f} kB/s")
    print(f"  a decision's age at the browser: median {statistics.median(ages):.3f} s, p99 "
          f"{ages[int(len(ages) * 0.99)]:.3f} s, worst {ages[-1]:.3f} s")  # fmt: skip
    if busy is not None:
        print(f"  a real page: its main thread is busy {busy:.0%} of the time")


if __name__ == "__main__":
    main(*(int(text) for text in (sys.argv[1:] + ["30", "200"][len(sys.argv) - 1 :])))
