"""A whole run: every app, a change of policy, the run directory, Ctrl-C and SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed import load_run

pytestmark = pytest.mark.live
SMOKE = Path(__file__).parent / "smoke.yaml"


def test_a_run_judges_every_app_and_leaves_a_whole_directory(smoke: Path) -> None:
    result = json.loads((smoke / "result.json").read_text())
    assert result["status"] == "passed"
    assert {item["app"] for item in result["apps"]} == {
        "dns", "web", "download", "video", "messenger", "call", "command",
    }  # fmt: skip
    for name in ("scenario.yaml", "result.json", "events.jsonl", "junit.xml", "report.html", "fidelity.json"):
        assert (smoke / name).stat().st_size > 0, name
    events = [json.loads(line) for line in (smoke / "events.jsonl").read_text().splitlines()]
    reset = next(event for event in events if event.get("rule") == "imo-names-sni")
    frame = reset["frames"]["inside"][0]
    capture = smoke / "pcap" / "gateway-inside.pcapng"
    comment = subprocess.run(
        ["tshark", "-r", str(capture), "-Y", f"frame.number == {frame}", "-T", "fields",
         "-e", "frame.comment", "-e", "tls.handshake.extensions_server_name"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "imo-names-sni: reset" in comment
    assert "chat.imo.im" in comment


def test_its_round_trips_are_measured_and_none_is_shorter_than_the_link(smoke: Path) -> None:
    trips = load_run(smoke).round_trips
    assert {"syn", "data", "dns"} <= set(trips.column("kind"))
    assert min(trips.column("rtt_s")) == pytest.approx(0.040, abs=0.01)  # 2 Mbit/s and 40 ms, at times idle
    assert 0 < min(trips.column("t")) <= max(trips.column("t")) < 20
    assert "round trips measured in the capture" in (smoke / "report.html").read_text(encoding="utf-8")


def _start(tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a run that would last ten minutes and wait until its first result is recorded."""
    (tmp_path / "long.yaml").write_text(SMOKE.read_text().replace("duration: 16 s", "duration: 600 s"))
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "run", "long.yaml"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for results in tmp_path.glob("runs/*/apps/text.jsonl"):
            if results.stat().st_size:
                return process, results.parent.parent
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError("the run did not come up")


def _of_run(run: Path) -> list[str]:
    """Return the command lines of all processes that name a run's directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(run) in line:
                found.append(line)
    return found


@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "ci"])
def test_ctrl_c_stops_at_once_and_keeps_what_was_recorded(whole_group: bool, tmp_path: Path) -> None:
    process, run = _start(tmp_path)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 3
    assert _of_run(run) == []
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert result["apps"]
    for name in ("junit.xml", "report.html", "events.jsonl", "pcap/gateway-inside.pcapng"):
        assert (run / name).exists(), name


def test_sigkill_leaves_nothing(tmp_path: Path) -> None:
    process, run = _start(tmp_path)
    assert _of_run(run)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while _of_run(run) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _of_run(run) == []
    assert str(run) not in Path("/proc/self/mountinfo").read_text()
