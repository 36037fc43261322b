"""The national link through a real kernel, whoever carries it: generous bounds; bench/link.py holds the exact ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from testbed import load_run
from testbed.dashboard.steer import Steering
from testbed.net.probes import PROBES, examine
from testbed.run.directory import RunDirectory
from tests.live.conftest import COMMAND, Testbed

pytestmark = [pytest.mark.live, pytest.mark.alone]
_SCENARIO = """scenario: link
title: One download over IPv6 and one over IPv4, with echoes before them
duration: {duration}
policy: open
topology: {{ipv6: true}}
link: {link}
apps:
  - {{name: echo, app: command, params: {{argv: [ping, -c4, -i0.2, -q, 198.18.0.80]}}}}
  - {{name: six, app: command, start: 2 s, timeout: 20 s,
     params: {{argv: [curl, -6, -sS, -o, /dev/null, "http://a.example/bytes/{size}"]}}}}
  - {{name: four, app: command, start: {second}, timeout: 20 s,
     params: {{argv: [curl, -4, -sS, -o, /dev/null, "http://a.example/bytes/{size}"]}}}}
expect:
  - {{phase: start, app: echo, verdict: ok}}
  - {{phase: start, app: six, verdict: ok}}
  - {{phase: start, app: four, verdict: ok}}
"""


def _run(testbed: Testbed, tmp_path: Path, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Play the scenario; return its result and its fidelity. A busy machine may make it invalid, never fail it."""
    (tmp_path / "link.yaml").write_text(_SCENARIO.format(**values))
    done = testbed("run", "link.yaml", "--into", "run", "--no-capture")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert all(expectation["holds"] for expectation in result["expectations"]), result["expectations"]
    fidelity = json.loads((tmp_path / "run" / "fidelity.json").read_text())
    assert fidelity == result["fidelity"]
    assert (done.returncode == 0) is (fidelity["faithful"] and not result["why"])
    return result, fidelity


def test_user_space_carries_the_national_link(testbed: Testbed, tmp_path: Path) -> None:
    link = "{rate: 0.5 Mbit/s, rtt: 205 ms}"
    _, fidelity = _run(testbed, tmp_path, link=link, duration="14 s", second="7 s", size=200_000)
    assert fidelity["backend"] == "user"
    assert fidelity["departures"] > 500
    assert fidelity["down"]["busy_bps"] == pytest.approx(5e5, rel=0.1)
    for side in ("up", "down"):
        assert fidelity[side]["idle_delay_s"] == pytest.approx(0.1025, abs=0.015)
        assert fidelity[side]["lost"] == 0
    trips = load_run(tmp_path / "run").round_trips  # no capture: the link's log stands in, and says so
    assert set(trips.column("kind")) == {"link"}
    assert not (tmp_path / "run" / "pcap").exists()
    assert min(trips.column("rtt_s")) == pytest.approx(0.205, abs=0.03)


def test_above_its_limit_the_kernel_carries_it_and_is_measured_too(testbed: Testbed, tmp_path: Path) -> None:
    link = "{rate: 100 Mbit/s, queue: 20 ms}"
    _, fidelity = _run(testbed, tmp_path, link=link, duration="6 s", second="3 s", size=5_000_000)
    assert fidelity["backend"] == "kernel"
    assert fidelity["departures"] > 5000
    assert fidelity["down"]["busy_bps"] == pytest.approx(1e8, rel=0.1)
    assert fidelity["down"]["entered"] - fidelity["down"]["overflowed"] > 6500
    assert {(trip["kind"], 0 < trip["rtt_s"] < 1) for trip in load_run(tmp_path / "run").round_trips} == {
        ("link", True)
    }


def test_what_this_kernel_cannot_do_is_said_with_a_mend(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("link: k\nbackend: kernel\nrate: 10 Mbit/s\nrtt: 20 ms\n")
    (netem,) = examine([probe for probe in PROBES if probe.name == "netem"])
    done = testbed("exec", "--link", "./k.yaml", "--policy", "open", "--", "true")
    if netem.works:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 3
        assert "no netem, which a link of the kernel needs for delay; `modprobe sch_netem`" in done.stderr


def test_a_link_of_the_kernel_is_steered_and_sampled_like_ours(tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("link: k\nbackend: kernel\nrate: 2 Mbit/s\nqueue: {time: 1 s}\n")
    process = subprocess.Popen(
        [*COMMAND, "exec", "--link", "./k.yaml", "--policy", "open", "--keep", "run", "--", "sh", "-c",
         "echo up; exec sleep 100"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    try:
        directory = RunDirectory(tmp_path / "run")
        steering = Steering(directory)
        speeds = [max(_speed(directory) for _ in range(2))]  # a segment lost to the full queue costs TCP a second
        steering.rate(20e6)
        speeds.append(_speed(directory))
        steering.cut(True)
        assert _speed(directory) == 0
        steering.cut(False)
        speeds.append(_speed(directory))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=20)
        process.stdout.close()
    assert speeds[0] == pytest.approx(2e6, rel=0.15)
    assert speeds[1] > 5e6
    assert speeds[2] == pytest.approx(speeds[1], rel=0.5)
    samples = [json.loads(line) for line in directory.link_samples.read_text().splitlines()]
    assert {sample["down"]["rate_bps"] for sample in samples} == {2e6, 20e6}
    assert max(sample["down"]["queue_bytes"] for sample in samples) > 20_000
    most = max(sample["down"]["arrived_bytes"] for sample in samples if sample["down"]["rate_bps"] == 2e6)
    assert 500_000 < most < 900_000, "of two times 400 kB, all but what a pause or the last tenth of a second cost"


def _speed(directory: RunDirectory) -> float:
    """Fetch a file; return bit/s, 0 if nothing came within two seconds."""
    curl = ["curl", "-sS", "--max-time", "2", "-o", "/dev/null", "-w", "%{speed_download}",
            "--resolve", "a.example:80:198.19.3.4", "http://a.example/bytes/400000"]  # fmt: skip
    command = [*COMMAND, "enter", str(directory.path), "client1", "--", *curl]
    return float(subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout) * 8
