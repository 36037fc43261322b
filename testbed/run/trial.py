"""The two-sided test of a circumvention tool: one sandbox, the policy switched live, the same questions under each.

Beside the tool's host stands a control host without the tool. Under a policy a verdict counts only if the control was
blocked where it should be, a control site passed (the net is alive), and the link was faithful; else it is `invalid`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from testbed import proc
from testbed.clock import RunClock
from testbed.dpi.policy import load_policy
from testbed.errors import MachineError
from testbed.net.stem import Stem
from testbed.report.why import endpoints
from testbed.run import faithful, gate, record
from testbed.run.controls import PASSING_ONES, RACES, candidates, fit, sees_one_at_a_time, with_path
from testbed.run.country import Country
from testbed.run.directory import RunDirectory, read_lines
from testbed.run.forget import forget_names
from testbed.run.player import start_tool
from testbed.run.resolve import country_spec, default_scenario
from testbed.run.tool_result import nothing_of, nothing_under, outcome_word
from testbed.scenario.spec import ToolSpec
from testbed.tools import judge
from testbed.tools.logs import last_lines
from testbed.tools.recipe import Recipe, load_recipe
from testbed.tools.runner import PortTakenError, Tool, ToolError

_BOX, _TOOL_HOST, _CONTROL_HOST = "gateway", "client1", "client2"
_SITE = "198.18.0.80"
_SETTLE_S, _SPARE_S = 0.3, 5.0
_Finish = Callable[[float], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks: policies in order, connections of each, soak in seconds, options, own control."""

    recipe: str
    policies: tuple[str, ...]
    connections: int
    soak_s: float
    options: Mapping[str, str]
    control: str | None
    timeout_s: float
    labels: Mapping[str, str] = field(default_factory=dict)
    """What results call a policy."""


@dataclass
class Trial:
    """One recipe in a country that is up."""

    country: Country
    asked: Asked
    recipe: Recipe
    tool: Tool
    _number: int = field(init=False, default=0)
    _alive: str = field(init=False, default=PASSING_ONES[0])
    _reachable: frozenset[str] = field(init=False, default=frozenset())
    _addresses: dict[str, str] = field(init=False, default_factory=dict)
    _bare: dict[str, Any] | None = field(init=False, default=None)

    def run(self) -> dict[str, Any]:
        """Test under no censor first, then under each policy."""
        opened = self._under("open", judged=False)
        found = [opened]
        for policy in self.asked.policies:
            if policy != "open":
                self._say(self.asked.labels.get(policy, policy))
                found.append(self._under(policy, judged=True, opened=opened))
        return {"policies": found, "bare": self._bare}

    def _say(self, policy: str) -> None:
        print(
            f"{self.country.clock.elapsed():6.1f} s  {self.recipe.recipe} under {policy}", file=sys.stderr, flush=True
        )

    # controls

    def _candidates(self, policies: Sequence[str]) -> list[str]:
        """Return sites that policies may block: well-known ones, those of their own rules, another port."""
        if self.asked.control:
            return fit(self.recipe.use, [self.asked.control])
        found = [url for policy in policies for url in candidates(load_policy(policy), self.asked.timeout_s)]
        return fit(self.recipe.use, found)

    def _pinned(self) -> str | None:
        """A tool that doesn't claim to heal forged names is tested with names looked up before, control and all."""
        use = self.recipe.use
        return None if use.proxy or use.command or use.dns or "dns" in self.recipe.defeats else _SITE

    def _controls(self, policy: str, judged: bool) -> dict[str, Any]:
        passing = {"name": "passing", "kind": "all", "urls": list(PASSING_ONES)}
        blocked = {
            "name": "blocked",
            "kind": "all",
            "urls": self._candidates([policy] if judged else ["open", *self.asked.policies]),
        }
        if judged and sees_one_at_a_time(load_policy(policy)):
            seen = self._measure(_CONTROL_HOST, [passing], {"address": self._pinned()})
            first = [url for url in blocked["urls"] if url in self._reachable][:1]
            for _ in range(RACES):
                self.country.renew_policy(_BOX, policy)
                seen |= self._measure(_CONTROL_HOST, [{**blocked, "urls": first}], {"address": self._pinned()})
                if any(attempt["failure"] for attempt in seen.get("blocked", [])):
                    break
        else:
            jobs = [passing, blocked, *([] if judged else [self._load_job(self._alive)])]
            seen = self._measure(_CONTROL_HOST, jobs, {"address": self._pinned()})
        if not judged:  # what fails without a censor too is no sign of one
            good = [a for a in seen.get("blocked", []) if not a["failure"]]
            self._reachable = frozenset(a["url"] for a in good)
            self._addresses = {a["url"]: a["via"] for a in good if a["url"].startswith("dns:")}
            self._bare = judge.load(seen.get("load", []))
        return judge.controls(seen.get("passing", []), seen.get("blocked", []), self._reachable)

    def _load_job(self, site: str) -> dict[str, Any]:
        link = self.country.spec.link
        rate = min((side.rate or 1e9) for side in (link.up, link.down)) if link is not None else 1e9
        size = int(min(1_000_000, max(40_000, rate * 2 / 8)))
        return {"name": "load", "kind": "load", "urls": [with_path(site, f"/bytes/{size}")]}

    # one policy

    def _under(self, policy: str, *, judged: bool, opened: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.country.set_policy(_BOX, policy)
        forget_names()
        controls = self._controls(policy, judged)
        self._alive = controls["passes"] or self._alive
        found = nothing_under(self.asked.labels.get(policy, policy))
        found |= {"why": self._two_sided(policy, controls, judged), "controls": controls}
        if judged:  # what the control said is not the tool's fault: some silence a server for ever
            self.country.renew_policy(_BOX, policy, fresh=True)
        first_event = self._counted_events()
        target = controls["blocked"] or self._target_when_open()
        tested = self._tested(target)
        found["why"] += tested.pop("why")
        found |= tested
        found["blocked_by"] = judge.blocked_by(self._own_events(first_event))
        found["why"] += self._went_around(found)
        works = opened is None or opened["outcome"] != "broken"
        found["outcome"] = outcome_word(found, judged=judged, works=works)
        found["verdict"] = "invalid" if found["why"] else found["outcome"]
        if self.asked.soak_s and judged and found["outcome"] == "passes":
            found |= self._soaked(policy, target)
            found["verdict"] = "invalid" if found["why"] else found["outcome"]
        return found

    def _soaked(self, policy: str, target: str) -> dict[str, Any]:
        """Use the tool while the policy comes and goes; one whose program dies of itself meanwhile is broken."""
        first_event = self._counted_events()
        soak, died, said = self._soak(policy, target)
        if not died:
            return {"soak": soak}
        acted = judge.blocked_by(self._own_events(first_event))
        return {"soak": soak, "died": died, "said": said, "outcome": "unstable" if acted else "broken"}

    def _target_when_open(self) -> str:
        urls = self._candidates(["open"])
        return next((url for url in urls if url in self._reachable), urls[0])

    def _two_sided(self, policy: str, controls: Mapping[str, Any], judged: bool) -> list[str]:
        if not judged:
            if controls["passes"] and self._reachable:
                return []
            return ["the net is dead: the control sites can't be reached without a censor"]
        why = []
        if controls["blocked"] is None:
            tried = self.asked.control or "any of the control sites"
            why.append(f"the control client was not blocked from {tried}: name a site that it blocks with --control")
        if controls["passes"] is None and not self._alive_without_censor(policy):
            why.append("the net is dead: no control site passes, nor would it without the censor")
        return why

    def _alive_without_censor(self, policy: str) -> bool:
        """A shutdown lets nothing pass; that the net itself is alive is seen with the censor off for a moment.

        Names are taken as known: a resolver that nobody answered for a while asks no more at once.
        """
        self.country.set_policy(_BOX, "open")
        forget_names()  # the censor may have had an answer forged, which a resolver remembers
        seen = self._measure(
            _CONTROL_HOST, [{"name": "passing", "kind": "all", "urls": list(PASSING_ONES)}], {"address": _SITE}
        )
        self.country.set_policy(_BOX, policy)
        forget_names()
        return any(not attempt["failure"] for attempt in seen.get("passing", []))

    def _tested(self, target: str) -> dict[str, Any]:
        jobs: list[dict[str, Any]] = [
            {"name": "connect", "kind": "repeat", "urls": [target], "count": self.asked.connections}
        ]
        if self.recipe.use.carries != "names":
            if not self.recipe.use.command:
                headers = with_path(target, "/headers")
                jobs.append({"name": "via", "kind": "repeat", "urls": [headers], "count": 1, "after": "connect"})
            jobs.append({**self._load_job(target), "after": "connect"})
        started: str | None = None
        seen: dict[str, list[dict[str, Any]]] = {}
        died: list[str] = []
        why: list[str] = []
        try:
            self.tool.start_client()
            time.sleep(_SETTLE_S if self.tool.rendered.client else 0.0)
            seen = self._measure(_TOOL_HOST, jobs, self._access())
            died = self.tool.died()
            if "connect" not in seen:  # whatever wraps the client did not let it come up
                started = f"{self.tool.name}: its client measured nothing: {self._last_words()}"
        except (ToolError, MachineError) as error:
            started = str(error)
            if isinstance(error, (PortTakenError, MachineError)):
                why.append("no censor keeps a tool from starting so")
        finally:
            said = self.tool.said()
            self.tool.stop_client()
        via = [a.get("via") for a in seen.get("via", []) if not a["failure"]]
        return {
            "started": started, "died": died, "success": judge.success(seen.get("connect", [])),
            "load": judge.load(seen.get("load", [])), "via": via[0] if via else None, "target": target, "said": said,
            "why": why,
        }  # fmt: skip

    def _access(self) -> dict[str, Any]:
        rendered = self.tool.rendered
        return {"proxy": rendered.proxy, "command": list(rendered.command), "address": self._pinned()}

    def _went_around(self, found: Mapping[str, Any]) -> list[str]:
        """With a server of its own, a page that came straight from the client says nothing about the tool."""
        own = self.country.address(_TOOL_HOST)
        carried = self.recipe.use.proxy or self.recipe.use.whole_host
        if self.recipe.server and carried and found["via"] == own:
            return [f"the page came to {own} without the tool's server: the tool was gone around"]
        return []

    def _soak(self, policy: str, target: str) -> tuple[dict[str, Any], list[str], dict[str, str]]:
        """Keep using the tool while the policy comes and goes; return which programs died of it, and the last words."""
        third = self.asked.soak_s / 3
        self.country.set_policy(_BOX, "open")
        every_s = min(1.0, third / 3)  # so that each third has some
        job = {"name": "soak", "kind": "soak", "urls": [target], "every_s": every_s, "for_s": self.asked.soak_s}
        changed: list[float] = []
        died: list[str] = []
        try:
            self.tool.start_client()
            finish = self._begin(_TOOL_HOST, [job], self._access())
            for next_policy in (policy, "open"):
                time.sleep(third)
                self.country.set_policy(_BOX, next_policy)
                changed.append(time.monotonic())
            seen = finish(third + self.asked.timeout_s + _SPARE_S)
            died = self.tool.died()
        except (ToolError, MachineError) as error:
            return {"failed": str(error)}, [], {}
        finally:
            said = self.tool.said()
            self.tool.stop_client()
        return judge.soak(seen.get("soak", []), changed, time.monotonic()), died, said

    # plumbing

    def _measure(self, node: str, jobs: Sequence[Mapping[str, Any]], access: Mapping[str, Any]) -> dict[str, Any]:
        attempts = sum(int(job.get("count", 1)) for job in jobs)
        return self._begin(node, jobs, access)(attempts * self.asked.timeout_s + _SPARE_S)

    def _begin(self, node: str, jobs: Sequence[Mapping[str, Any]], access: Mapping[str, Any]) -> _Finish:
        self._number += 1
        work = self.country.directory.path / "work"
        out, path = work / f"measure-{self._number}.jsonl", work / f"measure-{self._number}.json"
        spec = {
            **access,
            "ca": str(self.country.ca.bundle),
            "jobs": jobs,
            "out": str(out),
            "timeout_s": self.asked.timeout_s,
            "addresses": self._addresses,
        }
        self.country.directory.write_json(path, spec)
        wrapper = self.tool.rendered.wrapper if node == _TOOL_HOST else ()
        argv = [*wrapper, *proc.module("testbed.tools.measure", str(path))]
        log = self.country.directory.log(f"measure-{self._number}")
        process = self.country.fabric.start(node, argv, log_path=log)

        def finish(within_s: float) -> dict[str, Any]:
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return {line["job"]: line["attempts"] for line in read_lines(out)} if out.exists() else {}

        return finish

    def _last_words(self) -> str:
        return last_lines(self.country.directory.log(f"measure-{self._number}").read_text(errors="replace"))

    def _events(self) -> list[dict[str, Any]]:
        path = self.country.directory.box_events(_BOX)
        return list(read_lines(path)) if path.exists() else []

    def _counted_events(self) -> int:
        """Return how many events there are, after what the kernel dropped by itself was counted among them."""
        self.country.stats()
        return len(self._events())

    def _own_events(self, first: int) -> list[dict[str, Any]]:
        """Return what the censor did to the tool's host since then; the kernel's own drops name no flow."""
        own = self.country.address(_TOOL_HOST)
        last = self._counted_events()
        return [
            event for event in self._events()[first:last] if not event.get("flow") or own in endpoints(event["flow"])
        ]


def play(job: Mapping[str, Any], directory: RunDirectory, stem: Stem) -> int:
    """Test a recipe as a job asks and write `result.json`; the exit status speaks of the test's machinery only."""
    asked = Asked(
        job["recipe"], tuple(job["policies"]), job["connections"], job["soak_s"], job["options"], job["control"],
        job["timeout_s"], job["labels"],
    )  # fmt: skip
    recipe = load_recipe(asked.recipe)
    spec = country_spec(default_scenario(), directory, {**job, "policy": "open", "capture": job["capture"]})
    result = {**nothing_of(recipe, job), "seed": spec.seed}
    with Country(spec, directory, RunClock.start(), stem) as country:
        country.restart_clock()
        tool_spec = ToolSpec(name=recipe.recipe, recipe=job["recipe"], options=dict(asked.options))
        try:
            tool = start_tool(country, tool_spec)
        except (ToolError, MachineError) as error:
            country.stop()
            record.merge_events(country, [])
            if isinstance(error, MachineError):  # a program that only a template names
                result["skipped"] = str(error)
            else:
                broken = {"verdict": "broken", "outcome": "broken", "started": str(error)}
                result["policies"] = [{**nothing_under("open"), **broken}]
            directory.write_json(directory.result, result)
            return 0
        try:
            result |= Trial(country, asked, recipe, tool).run()
        finally:
            tool.stop()
        stats, died = country.stats_or_deaths()
        country.stop()
        _give_frames(result["policies"], record.merge_events(country, []))
        result["fidelity"] = faithful.measure(country, stats)
    why = gate.reasons_invalid(result["fidelity"], stats, died, [])
    for item in result["policies"] if why else []:
        item["verdict"], item["why"] = "invalid", [*item["why"], *why]
    directory.write_json(directory.result, result)
    return 0


def _give_frames(policies: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> None:
    """Tie what blocked to the frames of the captures, where these are kept."""
    frames = {event["trigger"]["hash"]: event.get("frames", {}) for event in events}
    for entry in (entry for item in policies for entry in item["blocked_by"] if entry["packet"]):
        entry["frames"] = frames.get(entry["packet"], {})
