"""Scenarios: YAML to a typed, checked `Scenario`. All problems at once, each with its line and its mend.

`extends: NAME` takes everything from another scenario; a key given here replaces the whole of that key there.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from testbed import shipped
from testbed.documents import Document, Strict, read_document, validate, validation_problems
from testbed.dpi.policy import load_policy
from testbed.errors import InputError, Problem
from testbed.link.load import load_link
from testbed.link.spec import LinkSpec, TimeOfDay
from testbed.scenario.topology import GROUPS, WORLD_HOSTS, Provider, TopologyShape, client_names, plan, provider_box
from testbed.tools.recipe import load_recipe
from testbed.units import Duration

Verdict = Literal["ok", "slow", "blocked"]
_BOUND = re.compile(r"\s*(<=|>=|<|>|==)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*")


def _bound(value: object) -> tuple[str, float]:
    if isinstance(value, tuple):
        return value
    match = _BOUND.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a bound; write it like `< 8` or `>= 3.5`")
    return match[1], float(match[2])


Bound = Annotated[tuple[str, float], BeforeValidator(_bound)]


class AppSpec(Strict):
    """An app of a host: what it is, when it starts, how often it is repeated."""

    name: str
    app: Literal["dns", "web", "download", "video", "messenger", "call", "command"]
    profile: str | None = None
    """The messenger it imitates: imo, whatsapp, viber, telegram, signal."""
    node: str = Field(default="client1", alias="on")
    params: Mapping[str, Any] = {}
    start: Duration = 0.0
    every: Duration | None = None
    count: int | None = Field(default=None, ge=1)
    timeout: Duration = 30.0
    """After this an attempt counts as a `generic_timeout_error`."""
    through: str | None = None
    """The tool of this scenario that it uses, by name."""


class ToolSpec(Strict):
    """A circumvention tool: its server stands in the world from the start, its client is started in a host."""

    recipe: str
    name: str
    server: str = "tools"
    """The world host its server runs on."""
    node: str = Field(default="client1", alias="on")
    start: Duration = 0.0
    options: Mapping[str, str | int] = {}
    """Values for the recipe's options."""


class Step(Strict):
    """A change at a time of the run."""

    at: Duration
    phase: str | None = None
    """The name of the phase that begins here."""
    policy: str | None = None
    box: str = "gateway"
    enable: str | None = None
    """A rule of the box's policy to switch on again."""
    disable: str | None = None
    link: str | None = None
    start: str | None = None
    """An app or a tool's client to start; one that a step starts doesn't start by itself."""
    stop: str | None = None


class Expectation(Strict):
    """What an app must look like in a phase. Every attempt that began in the phase is judged."""

    phase: str
    app: str
    verdict: Verdict | tuple[Verdict, ...] | None = None
    failure: str | None = None
    """OONI's word, `connection_reset` for example."""
    blocking: Literal["dns", "tcp_ip", "http-diff", "http-failure"] | None = None
    kpi: Mapping[str, Bound] = {}
    at_least: int = Field(default=1, ge=0)
    """Attempts that must have been judged."""


class ProviderSpec(Strict):
    """A further Internet provider, which reaches the world through the first one."""

    clients: int = Field(default=1, ge=1, le=100)
    """Its hosts: `mobile1`, `mobile2`, … for the provider `mobile`."""
    policy: str | None = None
    """The policy of a box of its own, named `mobilegw`; without it there is none."""


class Topology(Strict):
    """How the net differs from the default country."""

    clients: int = Field(default=2, ge=1, le=100)
    ipv6: bool = False
    boxes: Mapping[str, str] = {}
    """Further boxes behind `gateway`, in order: name → policy."""
    providers: Mapping[str, ProviderSpec] = Field(default={}, max_length=15)
    """Further Internet providers, by name."""
    hosts: Mapping[str, str] = {}
    """Further hosts of the world: name → address in 198.18.0.0/24."""
    groups: Mapping[str, tuple[str, ...]] = {}
    """Address groups that policies name: group → prefixes."""
    names: Mapping[str, tuple[str, ...]] = {}
    """Names with fixed addresses; `*.suffix` stands for everything under it."""


class Scenario(Strict):
    """A scenario."""

    scenario: str
    title: str
    about: str = ""
    extends: str | None = None
    seed: int = 1
    duration: Duration = Field(default=30.0, gt=0)
    clock: TimeOfDay = 43200.0
    """The time of day at which the run begins, in the emulated country."""
    link: str | Mapping[str, Any] = "national-2021"
    policy: str = "open"
    topology: Topology = Topology()
    tools: tuple[ToolSpec, ...] = ()
    apps: tuple[AppSpec, ...] = ()
    timeline: tuple[Step, ...] = ()
    expect: tuple[Expectation, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def link_spec(self) -> LinkSpec | None:
        """The link, loaded; None if unshaped."""
        if isinstance(self.link, str):
            return load_link(self.link)
        return LinkSpec.model_validate(self.link)

    @property
    def shape(self) -> TopologyShape:
        """The net's shape."""
        topology = self.topology
        return TopologyShape(
            clients=topology.clients, boxes=("gateway", *topology.boxes), ipv6=topology.ipv6, groups=topology.groups,
            zone=topology.names, hosts=topology.hosts,
            providers={name: Provider(p.clients, p.policy is not None) for name, p in topology.providers.items()},
        )  # fmt: skip

    @property
    def box_policies(self) -> dict[str, str]:
        """Box → policy at the start."""
        own = {provider_box(name): p.policy for name, p in self.topology.providers.items() if p.policy is not None}
        return {"gateway": self.policy, **self.topology.boxes, **own}

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The address groups that policies may name."""
        return {**GROUPS, **self.topology.groups}


def load_scenario(reference: str | Path) -> Scenario:
    """Load a scenario by shipped name or path; `InputError` lists every problem."""
    document = _merged(reference, ())
    scenario = validate(document, Scenario)
    problems = _problems(scenario, document)
    if problems:
        raise InputError(problems)
    return scenario


def _merged(reference: str | Path, seen: tuple[str, ...]) -> Document:
    path = shipped.find(reference, "scenarios")
    if not path.exists() and path.parent == shipped.folder("scenarios"):
        known = shipped.names("scenarios")
        near = difflib.get_close_matches(str(reference), known, 1)
        mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
        raise InputError([Problem(str(reference), "no such scenario", mend)])
    document = read_document(path)
    base = document.data.get("extends")
    if base is None:
        return document
    if str(base) in seen:
        raise InputError([document.problem(("extends",), f"`{base}` extends itself", "break the circle")])
    parent = _merged(path.parent / base if str(base).endswith(".yaml") else base, (*seen, str(base)))
    # a place in the parent's part is given by the line of `extends`: the merged value came through it
    return Document(document.path, {**parent.data, **document.data}, document.lines)


def _problems(scenario: Scenario, document: Document) -> list[Problem]:
    return [
        *_reference_problems(scenario, document),
        *_topology_problems(scenario, document),
        *_tool_problems(scenario, document),
        *_app_problems(scenario, document),
        *_timeline_problems(scenario, document),
        *_expectation_problems(scenario, document),
    ]


def _loads(document: Document, place: tuple[str | int, ...], load: Any, *arguments: Any) -> list[Problem]:
    try:
        load(*arguments)
    except InputError as error:
        return [document.problem(place, p.what, p.mend) if ":" not in p.place else p for p in error.problems]
    return []


def _reference_problems(scenario: Scenario, document: Document) -> list[Problem]:
    found = _loads(document, ("policy",), load_policy, scenario.policy, scenario.groups)
    for box, policy in scenario.topology.boxes.items():
        found += _loads(document, ("topology", "boxes", box), load_policy, policy, scenario.groups)
    for name, provider in scenario.topology.providers.items():
        if provider.policy is not None:
            place = ("topology", "providers", name, "policy")
            found += _loads(document, place, load_policy, provider.policy, scenario.groups)
    if isinstance(scenario.link, str):
        return found + _loads(document, ("link",), load_link, scenario.link)
    try:
        LinkSpec.model_validate(scenario.link)
    except ValidationError as error:
        inner = Document(
            document.path, dict(scenario.link), {k[1:]: v for k, v in document.lines.items() if k[:1] == ("link",)}
        )
        found += validation_problems(inner, LinkSpec, error)
    return found


def _unknown(
    document: Document, place: tuple[str | int, ...], kind: str, name: str, known: Sequence[str]
) -> list[Problem]:
    if name in known:
        return []
    near = difflib.get_close_matches(name, known, 1)
    mend = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known) or 'none'}"
    return [document.problem(place, f"no {kind} `{name}`", mend)]


def _topology_problems(scenario: Scenario, document: Document) -> list[Problem]:
    topology = scenario.topology
    found: list[Problem] = []
    taken = {node.name for node in plan(TopologyShape(topology.clients)).nodes}
    for kind, longest, names in (
        ("boxes", 11, topology.boxes), ("providers", 8, topology.providers), ("hosts", 10, topology.hosts),
    ):  # fmt: skip
        for name in names:
            place = ("topology", kind, name)
            if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{longest - 1}}}", name):
                mend = f"use at most {longest} small letters and digits"
                found.append(document.problem(place, f"`{name}` can't be the name of a node", mend))
            if name in taken:
                found.append(document.problem(place, f"there is a node `{name}` already", "choose another name"))
            taken.add(name)
    addresses = {address for own in WORLD_HOSTS.values() for address in own} | {"198.18.0.1"}
    for name, address in topology.hosts.items():
        place = ("topology", "hosts", name)
        if not re.fullmatch(r"198\.18\.0\.\d{1,3}", address) or not 1 < int(address.rpartition(".")[2]) < 255:
            mend = "choose one from 198.18.0.2 to 198.18.0.254"
            found.append(document.problem(place, f"{address} is no address of a world host", mend))
        if address in addresses:
            found.append(document.problem(place, f"{address} is taken", "choose another address"))
        addresses.add(address)
    for kind, mapping in (("groups", topology.groups), ("names", topology.names)):
        for name, values in mapping.items():
            for index, value in enumerate(values):
                try:
                    ipaddress.ip_network(value)
                except ValueError as error:
                    mend = "write addresses or prefixes, as `198.18.144.0/20`"
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
            known = list(load_recipe(tool.recipe).options)
            for name in tool.options:
                found += _unknown(document, (*place, "options", name), "option", name, known)
        names = [*(other.name for other in scenario.tools[:index]), *(app.name for app in scenario.apps)]
        if tool.name in names:
            found.append(document.problem((*place, "name"), f"`{tool.name}` is taken", "choose another name"))
    return found


def _app_problems(scenario: Scenario, document: Document) -> list[Problem]:
    hosts = [*client_names(scenario.shape), *WORLD_HOSTS, *scenario.topology.hosts]
    found: list[Problem] = []
    seen: set[str] = set()
    for index, app in enumerate(scenario.apps):
        found += _unknown(document, ("apps", index, "on"), "node", app.node, hosts)
        if app.name in seen:
            found.append(document.problem(("apps", index, "name"), f"two apps are named `{app.name}`", "rename one"))
        seen.add(app.name)
        if app.start >= scenario.duration:
            what = f"`{app.name}` starts at {app.start:g} s, the run ends at {scenario.duration:g} s"
            found.append(document.problem(("apps", index, "start"), what, "start it earlier or run longer"))
        if app.through is not None:
            tools = [tool.name for tool in scenario.tools]
            found += _unknown(document, ("apps", index, "through"), "tool", app.through, tools)
            if app.app in ("dns", "call"):
                what = f"`{app.app}` can't go through a tool"
                found.append(document.problem(("apps", index, "through"), what, "use a `command` of the tool's"))
        if app.app in ("messenger", "call") and app.profile is None:
            found.append(document.problem(("apps", index), f"`{app.app}` needs a profile", "add `profile: imo`"))
    return found


def _timeline_problems(scenario: Scenario, document: Document) -> list[Problem]:
    found: list[Problem] = []
    apps = [*(app.name for app in scenario.apps), *(tool.name for tool in scenario.tools)]
    policies = dict(scenario.box_policies)
    before = 0.0
    for index, step in enumerate(scenario.timeline):
        place = ("timeline", index)
        if step.at < before:
            found.append(document.problem((*place, "at"), "earlier than the step before", "put steps in time order"))
        before = step.at
        if step.at >= scenario.duration:
            what = f"at {step.at:g} s the run is over"
            found.append(document.problem((*place, "at"), what, f"`duration` is {scenario.duration:g} s"))
        found += _unknown(document, (*place, "box"), "box", step.box, list(policies))
        for key in ("start", "stop"):
            if (name := getattr(step, key)) is not None:
                found += _unknown(document, (*place, key), "app", name, apps)
        if step.link is not None:
            found += _loads(document, (*place, "link"), load_link, step.link)
        if step.policy is not None:
            policies[step.box] = step.policy
            found += _loads(document, (*place, "policy"), load_policy, step.policy, scenario.groups)
        for key in ("enable", "disable"):
            if (name := getattr(step, key)) is not None and not _loads(
                document, place, load_policy, policies[step.box]
            ):
                known = load_policy(policies[step.box], scenario.groups).rule_names
                found += _unknown(document, (*place, key), "rule", name, known)
    return found


def _expectation_problems(scenario: Scenario, document: Document) -> list[Problem]:
    phases = ["start", *(step.phase for step in scenario.timeline if step.phase)]
    apps = [app.name for app in scenario.apps]
    found: list[Problem] = []
    for index, expectation in enumerate(scenario.expect):
        found += _unknown(document, ("expect", index, "phase"), "phase", expectation.phase, phases)
        found += _unknown(document, ("expect", index, "app"), "app", expectation.app, apps)
    return found
