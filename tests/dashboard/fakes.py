"""A run without a net: a run directory whose sockets answer as a run's do, in a thread of the test."""

from __future__ import annotations

import json
import select
import threading
import time
from pathlib import Path
from typing import Any

from testbed import control
from testbed.dpi.policy import load_policy
from testbed.link.load import load_link
from testbed.link.spec import plain
from testbed.run.directory import RunDirectory
from testbed.run.steering import Steering
from testbed.scenario.topology import TopologyShape, plan


class FakeRun:
    """The sockets of a run, its box and its link, and the lines they would write."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.directory = RunDirectory.prepared(folder)
        self.directory.write_json(self.directory.plan, plan(TopologyShape(clients=3)).as_json())
        link = load_link("national-2021")
        assert link is not None
        self.link: dict[str, Any] = plain(link)
        self.directory.write_json(self.directory.path / "work" / "link.config.json", {"link": self.link})
        self.policy, self.disabled, self.blocked = "open", set[str](), list[str]()
        self.asked: list[tuple[str, str]] = []
        self._t0 = time.monotonic()
        steps = [{"at": 3000.0, "step": {"phase": "dark", "policy": "tm-2023-08"}}]
        about = {"scenario": "fake", "title": "A fake run", "duration_s": 3600.0, "timeline": steps}
        self.steering = Steering(self.directory.control("run"), self.elapsed, self.directory.steps, about)
        self._box = control.serve(self.directory.control("gateway"), self._answer_box)
        self._link = control.serve(self.directory.control("link"), self._answer_link)
        self._sent = 0
        self._next = 3000.0
        self._over = threading.Event()
        self.stopped = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeRun:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        for server in (self._box, self._link):
            server.close()
        if not self.stopped:
            self.steering.close()

    def elapsed(self) -> float:
        return time.monotonic() - self._t0

    def _serve(self) -> None:
        due = 0.0
        while not self._over.is_set():
            for server in (self._box, self._link):
                if select.select([server.fileno()], (), (), 0)[0]:
                    server.accept_ready()
            self._play()
            if time.monotonic() >= due:
                due = time.monotonic() + 0.1
                self._sample()

    def _play(self) -> None:
        if self.stopped:
            time.sleep(0.01)
            return
        try:
            if self.steering.wait(self._next, 0.01):
                self._next = 1e9
                self.steering.took({"phase": "dark", "policy": "tm-2023-08"})
                self.policy = "tm-2023-08"
        except KeyboardInterrupt:
            self.stopped = True
            self.steering.close()
            self.end()

    def _answer_box(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(("gateway", request["op"]))
        if request["op"] == "policy":
            self.policy = load_policy(request["policy"]).policy
            self.disabled = set()
        elif request["op"] == "rule":
            (self.disabled.discard if request["enabled"] else self.disabled.add)(request["rule"])
        elif request["op"] == "block":
            (self.blocked.append if request["blocked"] else self.blocked.remove)(request["name"])
        return {"policy": self.policy, "disabled": sorted(self.disabled), "blocked": list(self.blocked), "packets": 1}

    def _answer_link(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(("link", request["op"]))
        if request["op"] == "set":
            self.link = request["link"]
        return {"link": self.link}

    def _sample(self) -> None:
        rate = float(self.link["down"]["rate"].split()[0])
        self._sent += 5000
        side = {
            "rate_bps": rate, "delay_s": 0.1, "queue_bytes": 3000, "entered": 1, "lost": 0, "overflowed": 0,
            "arrived": 1, "arrived_bytes": self._sent,
        }  # fmt: skip
        self._append(self.directory.link_samples, {"t": round(self.elapsed(), 3), "up": side, "down": side})

    def decide(self, number: int, rule: str = "tls-sni", verdict: str = "pass", t: float | None = None) -> None:
        """Let the box write a decision."""
        event = {
            "t": round(self.elapsed(), 3) if t is None else t, "now": 0, "box": "gateway",
            "rule": rule, "verdict": verdict,
            "flow": f"tcp 100.64.1.1:{number} > 198.19.3.4:443", "reason": "reset", "injections": 1,
            "evidence": {"sni": f"site{number}.example", "pattern": ".example"}, "trigger": {"hash": f"{number:016x}"},
        }  # fmt: skip
        self._append(self.directory.box_events("gateway"), event)

    def attempt(self, name: str, verdict: str, failure: str | None = None, t: float | None = None) -> None:
        """Let an app write a result."""
        result = {
            "app": "messenger", "name": name, "node": "client1", "duration_s": 0.5,
            "t": round(self.elapsed(), 3) if t is None else t,
            "failure": failure, "operation": "tls_handshake" if failure else None, "blocking": None,
            "verdict": verdict, "kpis": {} if failure else {"delivery_s": 0.5, "bytes": 400},
        }  # fmt: skip
        self._append(self.directory.app_results(name), result)

    def end(self) -> None:
        """Write the result, as a run does last."""
        result = {
            "status": "interrupted", "why": [], "title": "A fake run", "scenario": "fake", "duration_s": self.elapsed(),
        }  # fmt: skip
        self.directory.write_json(self.directory.result, result)

    @staticmethod
    def _append(path: Path, line: dict[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
