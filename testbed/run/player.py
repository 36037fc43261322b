"""Plays a scenario: country up, apps and timeline, country down, judgement, record."""

from __future__ import annotations

import datetime
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import yaml

from testbed import proc
from testbed.apps.lacks import lacks
from testbed.apps.plan import serve_specs, zone_for
from testbed.clock import RunClock
from testbed.errors import MachineError
from testbed.net.stem import Stem
from testbed.report import plots
from testbed.run import faithful, gate, pictures, record
from testbed.run.country import Country
from testbed.run.directory import RunDirectory, read_lines
from testbed.run.progress import Progress
from testbed.run.resolve import country_spec
from testbed.run.steering import Steering
from testbed.scenario.judge import judge, place_in_phases
from testbed.scenario.load import load_scenario, resolved
from testbed.scenario.spec import AppSpec, Scenario, Step, ToolSpec, link_of
from testbed.scenario.timeline import phases
from testbed.tools.recipe import load_recipe
from testbed.tools.runner import Tool, ToolError, end, missing

_TICK_S = 0.2
_GRACE_S = 3.0


class Player:
    """One run of a scenario in a country that is up."""

    def __init__(self, country: Country, scenario: Scenario) -> None:
        self.country, self.scenario = country, scenario
        self.steps: list[dict[str, Any]] = []
        self.tool_troubles: dict[str, str] = {}
        self.died: list[str] = []
        self.interrupted = False
        self._apps: dict[str, proc.Program] = {}
        self.progress = Progress(scenario.title, scenario.duration)
        self.lost_tools: dict[str, str] = {}
        self.skipped = {app.name: why for app in scenario.apps if (why := lacks(app.app, app.params))}
        for name, why in self.skipped.items():
            self.progress.say(0.0, f"without the app {name}: {why}")
        self._tools: dict[str, Tool] = {}
        for spec in scenario.tools:
            try:
                self._tools[spec.name] = start_tool(country, spec)
            except (ToolError, MachineError) as error:
                self._lose(spec.name, str(error))
        about = {
            "scenario": scenario.scenario, "title": scenario.title, "duration_s": scenario.duration,
            "timeline": [{"at": step.at, "step": _words(step)} for step in scenario.timeline],
        }  # fmt: skip
        directory = country.directory
        self.steering = Steering(directory.control("run"), self._elapsed, directory.steps, about)

    def _elapsed(self) -> float:
        return self.country.clock.elapsed()

    def play(self) -> None:
        """Start the apps and walk through the timeline until the scenario's duration is over."""
        by_step = {step.start for step in self.scenario.timeline if step.start}
        moments: list[tuple[float, Callable[[], None]]] = [
            (tool.start, partial(self._start_client, tool.name))
            for tool in self.scenario.tools
            if tool.name not in by_step
        ]
        moments += [(step.at, partial(self._take, step)) for step in self.scenario.timeline]
        self.progress.start()
        try:
            for app in self.scenario.apps:
                if app.name not in by_step:
                    self._start(app)
            for at, act in sorted(moments, key=lambda moment: moment[0]):
                self._wait(at)
                act()
            self._wait(self.scenario.duration)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.progress.close()
            self.steering.close()
            self.tool_troubles = self.why_not()
            self._stop_apps()

    def _wait(self, until_s: float) -> None:
        while not self.died and not self.steering.wait(until_s, _TICK_S):
            self.died = self.country.check_alive()
            self.progress.tick(self.steering.timeline_s())

    def _take(self, step: Step) -> None:
        what = _words(step)
        if step.policy is not None:
            self.country.set_policy(step.box, step.policy)
        for name, enabled in ((step.enable, True), (step.disable, False)):
            if name is not None:
                self.country.set_rule(step.box, name, enabled)
        if step.link is not None and (link := link_of(step.link)) is not None:
            self.country.set_link(link)
        if step.start in {tool.name for tool in self.scenario.tools}:
            self._start_client(str(step.start))
        elif step.start is not None:
            spec = next(app for app in self.scenario.apps if app.name == step.start)
            self._start(spec.model_copy(update={"start": self.country.clock.elapsed()}))
        if step.stop in self._tools:
            self._tools[step.stop].stop()
        elif step.stop in self._apps:
            self._apps[step.stop].terminate()
        self.steps.append(self.steering.took(what))
        words = ", ".join(f"{key} {value}" for key, value in what.items() if key != "box" or step.policy)
        self.progress.say(self._elapsed(), words)

    def _lose(self, tool: str, why: str) -> None:
        """Go on without a tool; its apps are skipped, and the run says why."""
        self.lost_tools[tool] = why
        self.progress.say(self._elapsed(), f"without the tool {tool}: {why}")

    def _start_client(self, tool: str) -> None:
        if tool in self._tools:
            try:
                self._tools[tool].start_client(wait=False)
            except (ToolError, MachineError) as error:
                self._lose(tool, str(error))

    def why_not(self) -> dict[str, str]:
        """Return why tools did not work: not installed, not started, or ended before their time."""
        died = {name: "\n".join(found) for name, tool in self._tools.items() if (found := tool.died())}
        return {**died, **self.lost_tools}

    def _start(self, app: AppSpec) -> None:
        directory = self.country.directory
        if app.through in self.lost_tools or app.name in self.skipped:
            return
        tool = self._tools[app.through] if app.through else None
        spec = {
            "app": app.app, "name": app.name, "node": app.node, "profile": app.profile, "params": dict(app.params),
            "start_s": app.start, "every_s": app.every, "count": app.count, "timeout_s": app.timeout,
            "t0": self.country.clock.t0, "seed": self.country.spec.seed, "ca": str(self.country.ca.bundle),
            "out": str(directory.app_results(app.name)), "screenshots": str(directory.screenshots),
            "proxy": tool.rendered.proxy if tool else None, "wrapper": list(tool.rendered.wrapper) if tool else [],
        }  # fmt: skip
        path = directory.path / "work" / f"app-{app.name}.json"
        directory.write_json(path, spec)
        argv = proc.module("testbed.apps", "run", str(path))
        self._apps[app.name] = self.country.fabric.start(app.node, argv, log_path=directory.log(f"app-{app.name}"))

    def _stop_apps(self) -> None:
        end(self._apps.values(), patience_s=0.3 if self.interrupted else _GRACE_S)
        for tool in self._tools.values():
            tool.stop()

    def as_played(self) -> Scenario:
        """Return the scenario with its steps at the times they were taken, if a hand moved them."""
        if not self.steering.touched:
            return self.scenario
        taken = [
            step.model_copy(update={"at": done["t"]})
            for step, done in zip(self.scenario.timeline, self.steps, strict=False)
        ]
        return self.scenario.model_copy(update={"timeline": tuple(taken), "duration": self._elapsed()})

    def results(self) -> list[dict[str, Any]]:
        """Return all results of all apps in the order they began."""
        found = [r for app in self.scenario.apps for r in read_lines(self.country.directory.app_results(app.name))]
        return sorted(found, key=lambda result: result["t"])


def _words(step: Step) -> dict[str, Any]:
    return step.model_dump(exclude_none=True, exclude={"at"})


def start_tool(country: Country, spec: ToolSpec) -> Tool:
    """Start a tool's server, its client still off; `MachineError` if the machine lacks what the recipe needs."""
    recipe = load_recipe(spec.recipe)
    if lacks := missing(recipe):
        raise MachineError(f"{spec.name} can't run: {'; '.join(lacks)}", "install it, or leave the tool out")
    directory = country.directory
    tool = Tool(
        recipe, spec.name, directory.path / "work" / f"tool-{spec.name}", directory.path / "logs", country.fabric,
        spec.server, spec.node,
    )  # fmt: skip
    addresses = (country.address(spec.server), country.address(spec.node))
    tool.prepare(country.ca, country.spec.seed, addresses, spec.options)
    tool.start_server()
    return tool


def play(job: Mapping[str, Any], directory: RunDirectory, stem: Stem) -> int:
    """Play the scenario of a job and write its run directory; return the exit status."""
    scenario = load_scenario(job["scenario"])
    _check_commands(scenario)
    spec = country_spec(scenario, directory, job)
    spec = replace(spec, plan=replace(spec.plan, zone={**zone_for(scenario.apps), **spec.plan.zone}))
    document = yaml.safe_dump(resolved(scenario), sort_keys=False, allow_unicode=True)
    directory.scenario.write_text(document, encoding="utf-8")
    started = datetime.datetime.now(datetime.UTC)
    midnight = started.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    with Country(spec, directory, RunClock.start(midnight + scenario.clock), stem) as country:
        for serve in serve_specs(scenario.apps, country.ca):
            country.serve(serve.name, serve.node, serve.config)
        player = Player(country, scenario)
        if job.get("plots", True):
            plots.prepare()  # so that a Ctrl-C need not wait for it
        country.restart_clock()
        player.play()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # what was recorded is written down, however impatient people are
        stats, died = ({}, player.died) if player.died else country.stats_or_deaths()
        country.stop()
        decisions = record.merge_events(country, [*player.steps, *player.steering.touched])
        intervals = phases(player.as_played())
        results = pictures.named_by_phase(place_in_phases(player.results(), intervals), directory.screenshots)
        expectations = judge(scenario.expect, results)
        silent = [
            app.name
            for app in scenario.apps
            if not {app.through, app.name} & {*player.lost_tools, *player.skipped}
            and not any(r["name"] == app.name for r in results)
        ]
        judged = faithful.measure(country, stats)
        skipped = [f"the tool {name} is skipped: {reason}" for name, reason in sorted(player.lost_tools.items())]
        skipped += [f"the app {name} is skipped: {reason}" for name, reason in sorted(player.skipped.items())]
        why = [*gate.reasons_invalid(judged, stats, died, silent), *player.steering.reasons(), *skipped]
        status, exit_status = gate.status_of(why, expectations, player.interrupted)
        result = {
            "scenario": scenario.scenario, "title": scenario.title, "about": scenario.about, "seed": spec.seed,
            "started": started.isoformat(timespec="seconds"), "duration_s": round(country.clock.elapsed(), 3),
            "status": status, "exit_status": exit_status, "why": why, "command": job["command"],
            "phases": [
                {"name": p.name, "start_s": p.start_s, "end_s": p.end_s, "policies": dict(p.policies)}
                for p in intervals
            ],
            "apps": results, "tools": player.tool_troubles, "expectations": expectations,
            "decisions": record.count_decisions(decisions),
            "stats": stats, "fidelity": judged,
        }  # fmt: skip
        record.write_result(directory, result, drawn=job.get("plots", True))
    return exit_status


def _check_commands(scenario: Scenario) -> None:
    """A program that isn't there must not look like one that the censor blocked."""
    for app in scenario.apps:
        program = str(app.params["argv"][0]) if app.app == "command" else "true"
        if shutil.which(program) is None:
            raise MachineError(f"the app {app.name} can't run: no program `{program}`", "install it, or give its path")
