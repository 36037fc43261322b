"""What a scenario's form can't show: names that must exist somewhere else, times that must fit, apps told right.

Every check returns problems with their places; none stops at the first.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from testbed.apps.profiles import load_profile
from testbed.documents import Document, Location, Strict, validation_problems
from testbed.dpi.policy import load_policy
from testbed.errors import InputError, Problem
from testbed.link.load import check_link, load_link
from testbed.scenario.params import FAILURES, KPIS, PARAMS, SERVERS, is_failure
from testbed.scenario.spec import AppSpec, Expectation, Scenario, Step, link_of
from testbed.scenario.timeline import phases
from testbed.scenario.topology import WORLD_HOSTS, client_names, plan
from testbed.tools.carry import NO_NAMES, why_not
from testbed.tools.recipe import load_recipe
from testbed.tools.render import wrong_options

_BORDER = "198.18.0.1"


def problems_of(scenario: Scenario, document: Document, left_out: frozenset[str] = frozenset()) -> list[Problem]:
    """Return everything that is wrong; `left_out` are words that stood in parts a faulty document lost."""
    return [
        *_reference_problems(scenario, document),
        *_topology_problems(scenario, document),
        *_tool_problems(scenario, document),
        *_app_problems(scenario, document),
        *_timeline_problems(scenario, document, left_out),
        *_expectation_problems(scenario, document, left_out),
    ]


def _loads(document: Document, place: Location, load: Callable[..., Any], *arguments: Any) -> list[Problem]:
    """Return why something can't be loaded: at the place where it is named, or in its own file."""
    try:
        load(*arguments)
    except InputError as error:
        return [
            p if ":" in p.place and p.what != "no such file" else _named(document, place, str(arguments[0]), p)
            for p in error.problems
        ]
    return []


def _named(document: Document, place: Location, name: str, problem: Problem) -> Problem:
    return document.problem(place, f"`{name}`: {problem.what}", problem.mend)


def _unknown(document: Document, place: Location, kind: str, name: str, known: Sequence[str]) -> list[Problem]:
    if name in known:
        return []
    near = difflib.get_close_matches(name, known, 1)
    mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known) or 'none'}"
    return [document.problem(place, f"no {kind} `{name}`", mend)]


def _parts(document: Document, place: Location, model: type[Strict], data: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with a part that has a model of its own."""
    part = _part(document, place, data)
    try:
        model.model_validate(part.data)
    except ValidationError as error:
        return validation_problems(part, model, error)
    return []


def _part(document: Document, place: Location, data: Mapping[str, Any]) -> Document:
    """Return a part as a document of its own, its lines those of the file it stands in."""
    depth = len(place)
    lines = {where[depth:]: line for where, line in document.lines.items() if where[:depth] == place}
    lines.setdefault((), document.line(place))
    return Document(document.place(place).rpartition(":")[0], dict(data), lines)


def _link_problems(document: Document, place: Location, link: str | Mapping[str, Any]) -> list[Problem]:
    if isinstance(link, str):
        return _loads(document, place, load_link, link)
    return _loads(document, place, check_link, _part(document, place, link))


def _reference_problems(scenario: Scenario, document: Document) -> list[Problem]:
    found = _loads(document, ("policy",), load_policy, scenario.policy, scenario.groups)
    for box, policy in scenario.topology.boxes.items():
        found += _loads(document, ("topology", "boxes", box), load_policy, policy, scenario.groups)
    for name, provider in scenario.topology.providers.items():
        if provider.policy is not None:
            place = ("topology", "providers", name, "policy")
            found += _loads(document, place, load_policy, provider.policy, scenario.groups)
    return found + _link_problems(document, ("link",), scenario.link)


def _topology_problems(scenario: Scenario, document: Document) -> list[Problem]:
    topology = scenario.topology
    found: list[Problem] = []
    for kind, longest, names in (
        ("boxes", 11, topology.boxes), ("providers", 8, topology.providers), ("hosts", 10, topology.hosts),
    ):  # fmt: skip
        for name in names:
            if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{longest - 1}}}", name):
                mend = f"use at most {longest} small letters and digits"
                what = f"`{name}` can't be the name of a node"
                found.append(document.problem(("topology", kind, name), what, mend))
    times = Counter(node.name for node in plan(scenario.shape).nodes)
    declared = [(kind, name) for kind in ("boxes", "providers", "hosts") for name in getattr(topology, kind)]
    for kind, name in declared:
        own = (name, f"{name}sw", f"{name}gw", f"{name}1") if kind == "providers" else (name,)
        if taken := [each for each in own if times[each] > 1 or (kind == "hosts" and each in WORLD_HOSTS)]:
            what = f"there is a node `{taken[0]}` already"
            found.append(document.problem(("topology", kind, name), what, "choose another name"))
    return found + _host_address_problems(topology.hosts, document) + _group_problems(scenario, document)


def _host_address_problems(hosts: Mapping[str, str], document: Document) -> list[Problem]:
    found: list[Problem] = []
    taken = {address for own in WORLD_HOSTS.values() for address in own} | {_BORDER}
    for name, address in hosts.items():
        place = ("topology", "hosts", name)
        if not re.fullmatch(r"198\.18\.0\.[0-9]{1,3}", address) or not 0 < int(address.rpartition(".")[2]) < 255:
            mend = "choose one from 198.18.0.2 to 198.18.0.254"
            found.append(document.problem(place, f"{address} is no address of a world host", mend))
        elif address in taken:
            found.append(document.problem(place, f"{address} is taken", "choose another address"))
        taken.add(address)
    return found


def _group_problems(scenario: Scenario, document: Document) -> list[Problem]:
    found: list[Problem] = []
    for kind, read, mapping, mend in (
        ("groups", ipaddress.ip_network, scenario.topology.groups, "write prefixes, as `198.18.144.0/20`"),
        ("names", ipaddress.ip_address, scenario.topology.names, "write addresses, as `198.18.144.7`"),
    ):
        for name, values in mapping.items():
            for index, value in enumerate(values):
                try:
                    read(value)
                except ValueError as error:
                    found.append(document.problem(("topology", kind, name, index), str(error), mend))
    return found


def _tool_problems(scenario: Scenario, document: Document) -> list[Problem]:
    found: list[Problem] = []
    for index, tool in enumerate(scenario.tools):
        place = ("tools", index)
        found += _unknown(document, (*place, "on"), "host", tool.node, client_names(scenario.shape))
        servers = [*WORLD_HOSTS, *scenario.topology.hosts]
        found += _unknown(document, (*place, "server"), "world host", tool.server, servers)
        problems = _loads(document, (*place, "recipe"), load_recipe, tool.recipe)
        found += problems
        if not problems:
            for name, (what, mend) in wrong_options(load_recipe(tool.recipe), tool.options).items():
                found.append(document.problem((*place, "options", name), what, mend))
        names = [*(other.name for other in scenario.tools[:index]), *(app.name for app in scenario.apps)]
        if tool.name in names:
            found.append(document.problem((*place, "name"), f"`{tool.name}` is taken", "choose another name"))
    return found


def _app_problems(scenario: Scenario, document: Document) -> list[Problem]:
    hosts = [*client_names(scenario.shape), *WORLD_HOSTS, *scenario.topology.hosts]
    found: list[Problem] = []
    seen: set[str] = set()
    for index, app in enumerate(scenario.apps):
        place = ("apps", index)
        found += _unknown(document, (*place, "on"), "node", app.node, hosts)
        if app.name in seen:
            found.append(document.problem((*place, "name"), f"two apps are named `{app.name}`", "rename one"))
        seen.add(app.name)
        if app.start >= scenario.duration:
            what = f"`{app.name}` starts at {app.start:g} s, the run ends at {scenario.duration:g} s"
            found.append(document.problem((*place, "start"), what, "start it earlier or run longer"))
        if app.count is not None and app.every is None:
            mend = "add `every: 10 s`, or leave `count` out"
            found.append(document.problem((*place, "count"), "`count` without `every`", mend))
        if app.through is not None:
            tools = [tool.name for tool in scenario.tools]
            found += _unknown(document, (*place, "through"), "tool", app.through, tools)
            found += _way_through(scenario, app, document, (*place, "through"))
        found += _profile_problems(app, document, place)
        where = (*place, "params") if (*place, "params") in document.lines else place
        found += _parts(document, where, PARAMS[app.app], app.params)
    return found


def _way_through(scenario: Scenario, app: AppSpec, document: Document, place: Location) -> list[Problem]:
    """An app that can't use its tool would go past it, and its result would speak of something else."""
    if app.app == "dns":
        return [document.problem(place, *NO_NAMES)]
    tool = next((tool for tool in scenario.tools if tool.name == app.through), None)
    try:
        recipe = load_recipe(tool.recipe) if tool is not None else None
    except InputError:
        return []  # told where the tool stands
    if tool is None or recipe is None:
        return []
    if why := why_not(app.app, SERVERS.get(app.app, frozenset()), tool.name, recipe, tool.server):
        return [document.problem(place, *why)]
    use = recipe.use
    if (use.whole_host or use.dns) and app.node != tool.node:
        what = f"`{tool.name}` serves its own host {tool.node}, not {app.node}"
        return [document.problem(place, what, f"put the app `on: {tool.node}`")]
    return []


def _profile_problems(app: AppSpec, document: Document, place: Location) -> list[Problem]:
    if app.app not in ("messenger", "call"):
        if app.profile is None:
            return []
        mend = "leave it out, or use `messenger` or `call`"
        return [document.problem((*place, "profile"), f"`{app.app}` has no profile", mend)]
    if app.profile is None:
        return [document.problem(place, f"`{app.app}` needs a profile", "add `profile: imo`")]
    found = _loads(document, (*place, "profile"), load_profile, app.profile)
    if not found and (port := app.params.get("port")) is not None:
        profile = load_profile(app.profile)
        known = [str(each) for each in (profile.port, *profile.also)]
        found += _unknown(document, (*place, "params", "port"), f"port of {profile.title}:", str(port), known)
    return found


def _timeline_problems(scenario: Scenario, document: Document, left_out: frozenset[str]) -> list[Problem]:
    found: list[Problem] = []
    policies = dict(scenario.box_policies)
    before, named = 0.0, {"start"}
    for index, step in enumerate(scenario.timeline):
        place = ("timeline", index)
        if step.at < before:
            found.append(document.problem((*place, "at"), "earlier than the step before", "put steps in time order"))
        before = step.at
        if step.at >= scenario.duration:
            what = f"at {step.at:g} s the run is over"
            found.append(document.problem((*place, "at"), what, f"`duration` is {scenario.duration:g} s"))
        if step.phase is not None:
            if step.phase in named and not (step.phase == "start" and step.at == 0):
                what = f"two phases are named `{step.phase}`"
                found.append(document.problem((*place, "phase"), what, "rename one"))
            named.add(step.phase)
        found += _step_problems(scenario, step, document, place, policies, left_out)
        if step.policy is not None:
            policies[step.box] = step.policy
    return found


def _step_problems(
    scenario: Scenario, step: Step, document: Document, place: Location, policies: Mapping[str, str],
    left_out: frozenset[str],
) -> list[Problem]:  # fmt: skip
    names = [*(app.name for app in scenario.apps), *(tool.name for tool in scenario.tools)]
    found: list[Problem] = []
    if step.model_fields_set <= {"at", "box"}:
        mend = "add `phase`, `policy`, `enable`, `disable`, `link`, `start` or `stop`"
        found.append(document.problem(place, "nothing happens at this step", mend))
    box_problems = _unknown(document, (*place, "box"), "box", step.box, list(policies))
    found += box_problems
    for key in ("start", "stop"):
        if (name := getattr(step, key)) is not None and name not in left_out:
            found += _unknown(document, (*place, key), "app", name, names)
    if step.link is not None:
        found += _link_change_problems(scenario, document, (*place, "link"), step.link)
    if step.policy is not None:
        found += _loads(document, (*place, "policy"), load_policy, step.policy, scenario.groups)
        if any(name.endswith(".py") for name in (step.policy, policies.get(step.box, ""))):
            what = "a box that is a program of its own can't be changed for another one while the run lasts"
            found.append(document.problem((*place, "policy"), what, "make two scenarios"))
    for key in ("enable", "disable"):
        if (name := getattr(step, key)) is not None and not box_problems:
            policy = step.policy or policies[step.box]
            try:
                known = load_policy(policy, scenario.groups).rule_names
            except InputError:
                continue  # said where the policy is named
            found += _unknown(document, (*place, key), "rule", name, known)
    return found


def _link_change_problems(
    scenario: Scenario, document: Document, place: Location, link: str | Mapping[str, Any]
) -> list[Problem]:
    """Only the user-space link changes while packets flow, and only into another one."""
    found = _link_problems(document, place, link)
    if found or _link_problems(document, ("link",), scenario.link):
        return found
    for which, spec in (("the run's link", link_of(scenario.link)), ("this link", link_of(link))):
        if spec is None or spec.uses_kernel:
            what = f"{which} is {'unshaped' if spec is None else 'of the kernel'} and can't change in a run"
            found.append(document.problem(place, what, "use links with `backend: user`"))
    return found


def _expectation_problems(scenario: Scenario, document: Document, left_out: frozenset[str]) -> list[Problem]:
    known_phases = [phase.name for phase in phases(scenario)]
    kinds = {app.name: app.app for app in scenario.apps}
    found: list[Problem] = []
    for index, expectation in enumerate(scenario.expect):
        place = ("expect", index)
        if expectation.phase not in left_out:
            found += _unknown(document, (*place, "phase"), "phase", expectation.phase, known_phases)
        if expectation.app not in left_out:
            found += _unknown(document, (*place, "app"), "app", expectation.app, list(kinds))
        found += _word_problems(expectation, kinds.get(expectation.app), document, place)
    return found


def _word_problems(expectation: Expectation, kind: str | None, document: Document, place: Location) -> list[Problem]:
    found: list[Problem] = []
    if expectation.failure is not None and not is_failure(expectation.failure):
        found += _unknown(document, (*place, "failure"), "failure", expectation.failure, sorted(FAILURES))
    if kind is not None:
        for name in expectation.kpi:
            found += _unknown(document, (*place, "kpi", name), f"KPI of a `{kind}` app named", name, list(KPIS[kind]))
    return found
