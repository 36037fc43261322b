"""The national link through a real kernel, whoever carries it: generous bounds; bench/link.py holds the exact ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.net.probes import PROBES, examine
from tests.live.conftest import Testbed

pytestmark = pytest.mark.live
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


def test_above_its_limit_the_kernel_carries_it_and_is_measured_too(testbed: Testbed, tmp_path: Path) -> None:
    link = "{rate: 100 Mbit/s, queue: 20 ms}"
    _, fidelity = _run(testbed, tmp_path, link=link, duration="6 s", second="3 s", size=5_000_000)
    assert fidelity["backend"] == "kernel"
    assert fidelity["departures"] > 5000
    assert fidelity["down"]["busy_bps"] == pytest.approx(1e8, rel=0.1)
    assert fidelity["down"]["entered"] - fidelity["down"]["overflowed"] > 6500


def test_what_this_kernel_cannot_do_is_said_with_a_mend(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "k.yaml").write_text("link: k\nbackend: kernel\nrate: 10 Mbit/s\nrtt: 20 ms\n")
    (netem,) = examine([probe for probe in PROBES if probe.name == "netem"])
    done = testbed("exec", "--link", "./k.yaml", "--policy", "open", "--", "true")
    if netem.works:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 3
        assert "no netem, which a link of the kernel needs for delay; `modprobe sch_netem`" in done.stderr
