"""A small finished run, written to disk as `testbed run` would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from testbed.run.directory import RunDirectory


def result(status: str = "failed") -> dict[str, Any]:
    return {
        "scenario": "demo", "title": "A demo <script>", "about": "", "seed": 1, "started": "2026-01-02T03:04:05",
        "duration_s": 20.0, "status": status, "why": ["too slow & late"] if status == "invalid" else [],
        "phases": [
            {"name": "open", "start_s": 0, "end_s": 10, "policies": {"gateway": "open"}},
            {"name": "dark", "start_s": 10, "end_s": 20, "policies": {"gateway": "tm-2023-08"}},
        ],
        "apps": [
            {"name": "text", "app": "messenger", "node": "client1", "t": 1.0, "duration_s": 2.5, "verdict": "slow",
             "failure": None, "phase": "open", "kpis": {"delivery_s": 2.5, "bytes": 500}},
            {"name": "text", "app": "messenger", "node": "client1", "t": 11.0, "duration_s": 0.4, "verdict": "blocked",
             "failure": "connection_reset", "phase": "dark", "kpis": {}},
        ],
        "expectations": [
            {"phase": "open", "app": "text", "expected": "slow", "observed": "slow", "holds": True, "why": ""},
            {"phase": "dark", "app": "text", "expected": "ok", "observed": "blocked", "holds": False, "why": "<reset>"},
        ],
        "decisions": {"total": 1, "by_rule": {"sni": 1}}, "fidelity": {"faithful": True, "reasons": []},
        "command": "testbed run demo --seed 1",
    }  # fmt: skip


def decision(t: float, flow: str, rule: str = "sni") -> dict[str, Any]:
    return {
        "t": t, "now": t, "box": "gateway", "rule": rule, "verdict": "pass", "flow": flow, "reason": "<b>",
        "evidence": {"sni": "<img>"}, "injections": 1, "trigger": {"hash": ""},
        "frames": {"inside": [7], "outside": []},
    }  # fmt: skip


def sample(t: float, *, arrived_bytes: int, queue_bytes: int, entered: int, lost: int) -> dict[str, Any]:
    side = {
        "rate_bps": 500_000.0, "delay_s": 0.1, "queue_bytes": queue_bytes, "entered": entered, "lost": lost,
        "overflowed": 0, "arrived": entered, "arrived_bytes": arrived_bytes,
    }  # fmt: skip
    return {"t": t, "up": side, "down": {**side, "rate_bps": None, "queue_bytes": 0}}


def node(name: str, *addresses: str) -> dict[str, Any]:
    return {"name": name, "interfaces": [{"name": f"{name}-eth0", "addresses": list(addresses)}]}


PLAN = {"nodes": [node("client1", "100.64.1.1/16", "2001:db8:64::1/64"), node("resolver", "100.64.0.53/16")]}


def written(folder: Path, outcome: dict[str, Any] | None = None, events: list[dict[str, Any]] | None = None) -> Path:
    """Write a run directory and return it."""
    folder.mkdir()
    directory = RunDirectory.prepared(folder)
    events = [decision(11.1, "tcp 100.64.1.1:4 > 198.18.0.20:443")] if events is None else events
    lines = [{"t": 10.0, "step": {"box": "gateway", "phase": "dark"}}, *events]
    directory.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    samples = [
        sample(0.1 * n, arrived_bytes=6250 * n, queue_bytes=12_500, entered=5 * n, lost=n // 10) for n in range(200)
    ]
    directory.link_samples.write_text("".join(json.dumps(line) + "\n" for line in samples))
    directory.write_json(directory.plan, PLAN)
    directory.write_json(directory.result, outcome or result())
    return directory.path
