"""A country without a timeline, held up until its owner lets go: the inside of `testbed.session`.

It answers on a control socket (`control/session.sock`) and changes what it is told to; a command of the owner's enters
a host by itself. When the owner is gone, however it ended, the pipe at standard input ends, and the sandbox with it.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import select
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import yaml

from testbed import control
from testbed.clock import RunClock
from testbed.errors import TestbedError, UnfaithfulError, as_data
from testbed.net import ports
from testbed.net.stem import Stem
from testbed.run import faithful, gate, record
from testbed.run.country import Country
from testbed.run.directory import RunDirectory, read_lines
from testbed.run.forget import forget_names
from testbed.run.player import start_tool
from testbed.run.resolve import country_spec, default_scenario
from testbed.scenario.judge import place_in_phases
from testbed.scenario.load import load_scenario, resolved
from testbed.scenario.spec import Scenario, Step, ToolSpec, link_of
from testbed.scenario.timeline import phases
from testbed.tools.runner import Tool, ToolError

_LOOK_S = 1.0
_NO_NAME = re.compile(r"[/\\\x00-\x1f\x7f'\"`$]")
_LONGEST_NAME = 64
Answer = Mapping[str, Any]


def hold(job: Mapping[str, Any], directory: RunDirectory, stem: Stem) -> int:
    """Bring the country of a job up, say so on standard output, and serve until told to finish."""
    threading.Thread(target=_end_with_owner, daemon=True).start()
    scenario = load_scenario(job["scenario"]) if job["scenario"] else default_scenario()
    spec = replace(country_spec(scenario, directory, job), capture=job["capture"])
    with Country(spec, directory, RunClock.start(), stem) as country:
        country.restart_clock()
        held = Held(country, scenario, job)
        about = {
            "t0": country.clock.t0, "ca": str(country.ca.bundle), "policies": dict(spec.policies),
            "boxes": list(scenario.shape.boxes), "shaped": spec.link is not None,
        }  # fmt: skip
        print(json.dumps(about), flush=True)
        held.serve()
    return 0


def _end_with_owner() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # the first process of the sandbox: the kernel ends all the others


class Held:
    """What can be asked of the country; `serve` answers until `finish` was asked."""

    def __init__(self, country: Country, scenario: Scenario, job: Mapping[str, Any]) -> None:
        self._country, self._scenario, self._job = country, scenario, job
        self._started = datetime.datetime.now(datetime.UTC)
        self._tools: dict[str, Tool] = {}
        self._before: tuple[dict[str, dict[str, Any]], int] = ({}, 0)
        self._link_changed = False
        self._finished = False
        self._server = control.serve(country.directory.control("session"), self._answer)
        self._operations: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "begin": self._begin, "doubts": self._doubts, "policy": self._policy, "rule": self._rule,
            "link": self._link, "listening": self._listening, "tool": self._tool, "untool": self._untool,
            "finish": self._finish,
        }  # fmt: skip

    def serve(self) -> None:
        """Answer requests."""
        while not self._finished:
            if select.select([self._server.fileno()], (), (), _LOOK_S)[0]:
                self._server.accept_ready()
        self._server.close()

    def _answer(self, request: dict[str, Any]) -> Answer:
        try:
            return self._operations[request["op"]](request)
        except TestbedError as error:
            return {"failed": as_data(error)}
        except OSError as error:  # a box or the link that is gone; `doubts` tells which
            gone = UnfaithfulError(f"a part of the net does not answer: {error}")
            return {"failed": as_data(gone)}

    def _policy(self, request: Mapping[str, Any]) -> Answer:
        """Replace a policy; what the old one had begun ends, and resolvers `forget` what they learned under it."""
        self._country.renew_policy(request["box"], request["policy"], fresh=bool(request.get("fresh")))
        if request["forget"]:
            forget_names()
        return {}

    def _rule(self, request: Mapping[str, Any]) -> Answer:
        self._country.set_rule(request["box"], request["rule"], request["enabled"])
        return {}

    def _link(self, request: Mapping[str, Any]) -> Answer:
        """Change the link; None: as it was at the start."""
        link = self._country.spec.link if request["link"] is None else link_of(request["link"])
        assert link is not None, "the owner asks no unshaped link of a shaped one"
        self._country.set_link(link)
        self._link_changed = True
        return {}

    def _listening(self, request: Mapping[str, Any]) -> Answer:
        return {"ports": sorted(ports.listening(self._country.fabric.pid(request["node"])))}

    def _tool(self, request: Mapping[str, Any]) -> Answer:
        """Start both sides of a recipe's tool; return how apps use it, or why a side of it is broken."""
        spec = ToolSpec.model_validate(request["spec"])
        try:
            tool = start_tool(self._country, spec)
        except ToolError as error:
            return {"broken": str(error)}
        try:
            tool.start_client()
        except TestbedError as error:
            tool.stop()
            if isinstance(error, ToolError):
                return {"broken": str(error)}
            raise
        self._tools[spec.name] = tool
        used = tool.rendered
        return {"proxy": used.proxy, "wrapper": list(used.wrapper), "command": list(used.command)}

    def _untool(self, request: Mapping[str, Any]) -> Answer:
        """Stop a tool; return what of it had ended by itself."""
        tool = self._tools.pop(request["name"])
        died = tool.died()
        tool.stop()
        return {"died": died}

    def _begin(self, request: Mapping[str, Any]) -> Answer:
        """Judge what follows apart from what was before; names that were asked for are asked for again."""
        forget_names()
        self._before, self._link_changed = (self._country.stats(), self._departed()), False
        return {}

    def _departed(self) -> int:
        return self._country.departures.stat().st_size if self._country.departures.exists() else 0

    def _doubts(self, request: Mapping[str, Any]) -> Answer:
        """Return why what happened since `begin` proves nothing; a link of the kernel is judged at the end only."""
        found, died = self._country.stats_or_deaths()
        if died:
            return {"why": died, "dead": True}
        before, offset = self._before
        stats = {name: _less(now, before.get(name, {})) for name, now in found.items()}
        link = self._country.spec.link
        if link is not None and not link.uses_kernel:
            stats["link"]["changed"] = self._link_changed
            judged = faithful.measure(self._country, stats, offset)
        else:
            judged = {"faithful": True}
        return {"why": gate.reasons_invalid(judged, stats, [], []), "dead": False}

    def _finish(self, request: Mapping[str, Any]) -> Answer:
        """End the country; write the run directory if it is kept; return how faithful the link was."""
        country, self._finished = self._country, True
        for tool in self._tools.values():
            tool.stop()
        stats, died = country.stats_or_deaths()
        elapsed_s = country.clock.elapsed()
        country.stop()
        judged = faithful.measure(country, stats)
        country.directory.write_json(country.directory.fidelity, judged)
        why = gate.reasons_invalid(judged, stats, died, [])
        if request["record"]:
            self._record(elapsed_s, stats, judged, why)
        return {"faithful": judged["faithful"], "backend": judged.get("backend"), "why": why}

    def _record(
        self, elapsed_s: float, stats: Mapping[str, Any], judged: Mapping[str, Any], why: list[str]
    ) -> None:  # fmt: skip
        """Write the whole run directory: each policy that was taken began a phase, each command is an attempt."""
        country, directory = self._country, self._country.directory
        chosen = {key: self._job[key] for key in ("link", "seed") if self._job.get(key) is not None}
        box = self._scenario.shape.boxes[0]
        steps = list(read_lines(directory.steps))
        timeline = [
            Step(at=f"{step['t']} s", phase=_name(step["step"]["phase"]), policy=step["step"]["policy"], box=box)
            for step in steps
        ]
        own = {"timeline": tuple(timeline), "duration": elapsed_s, "apps": (), "tools": (), "expect": ()}
        played = self._scenario.model_copy(update={**chosen, **own, "policy": country.spec.policies[box]})
        document = yaml.safe_dump(resolved(played), sort_keys=False, allow_unicode=True)
        directory.scenario.write_text(document, encoding="utf-8")
        intervals = phases(played)
        decisions = record.merge_events(country, steps)
        attempts = place_in_phases(list(read_lines(directory.app_results("session"))), intervals)
        record.write_result(directory, {
            "scenario": played.scenario, "title": self._job["title"], "about": played.about, "seed": country.spec.seed,
            "started": self._started.isoformat(timespec="seconds"), "duration_s": round(elapsed_s, 3),
            "status": "invalid" if why else "passed", "exit_status": 3 if why else 0, "why": why,
            "command": self._job["title"],
            "phases": [
                {"name": p.name, "start_s": p.start_s, "end_s": p.end_s, "policies": dict(p.policies)}
                for p in intervals
            ],
            "apps": attempts, "expectations": [], "decisions": record.count_decisions(decisions), "stats": stats,
            "fidelity": judged,
        })  # fmt: skip


def _name(text: str) -> str:
    """Return a text as a scenario may call a phase."""
    return _NO_NAME.sub(".", text)[-_LONGEST_NAME:].lstrip(".- ") or "unnamed"


def _less(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return counters since an earlier reading; what isn't a number stays as it is."""
    found: dict[str, Any] = {}
    for key, value in now.items():
        earlier = before.get(key, {} if isinstance(value, Mapping) else 0)
        if isinstance(value, Mapping):
            found[key] = _less(value, earlier)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[key] = value - earlier
        else:
            found[key] = value
    return found
