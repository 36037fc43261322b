"""What a scenario is: the typed specification behind the YAML. Pure; loading and checking it is `load`'s business."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_serializer

from testbed.documents import Strict
from testbed.link.load import load_link
from testbed.link.spec import LinkSpec
from testbed.scenario.params import Kind
from testbed.scenario.topology import GROUPS, Provider, TopologyShape, provider_box
from testbed.units import Duration, TimeOfDay

Verdict = Literal["ok", "slow", "blocked"]
_BOUND = re.compile(r"\s*(<=|>=|<|>|==)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*")
_NAME = re.compile(r"(?![.\- ])[^/\\\x00-\x1f\x7f'\"`$]{1,64}")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} can't be a name; use letters, digits, `-`, `_` and `.`, 1 to 64 of them")
    return value


def _bound(value: object) -> tuple[str, float]:
    if isinstance(value, tuple):
        return value
    match = _BOUND.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a bound; write it like `< 8` or `>= 3.5`")
    return match[1], float(match[2])


def _link(value: object) -> object:
    if not isinstance(value, (str, Mapping)):
        raise ValueError("not a link; name one, or write it out as `{rate: 0.5 Mbit/s, rtt: 205 ms}`")
    return value


Bound = Annotated[
    tuple[str, float],
    BeforeValidator(_bound),
    WithJsonSchema({"type": "string", "pattern": _BOUND.pattern, "examples": ["< 8", ">= 3.5"]}),
]
Name = Annotated[str, AfterValidator(_name)]
#: One verdict, or a list of those that are right.
Verdicts = Annotated[
    tuple[Verdict, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
    WithJsonSchema({
        "anyOf": [
            {"enum": ["ok", "slow", "blocked"]}, {"type": "array", "items": {"enum": ["ok", "slow", "blocked"]}},
        ]
    }),
]  # fmt: skip
#: A link by name or file (`none`: unshaped), or written out.
Link = Annotated[str | Mapping[str, Any], BeforeValidator(_link)]
Period = Annotated[Duration, Field(gt=0)]


def link_of(value: str | Mapping[str, Any]) -> LinkSpec | None:
    """Return a link named or written out; None if unshaped. `InputError` or `ValidationError` if it is wrong."""
    return load_link(value) if isinstance(value, str) else LinkSpec.model_validate(value)


class AppSpec(Strict):
    """An app of a host: what it is, when it starts, how often it is repeated."""

    name: Name
    """What expectations, steps and results call it."""
    app: Kind
    """What it is; `params` depend on it."""
    profile: str | None = None
    """The messenger it imitates: imo, whatsapp, viber, telegram, signal."""
    node: str = Field(default="client1", alias="on")
    """The host it runs on."""
    params: Mapping[str, Any] = {}
    """What it is told, by kind of app."""
    start: Duration = 0.0
    """When its first attempt begins."""
    every: Period | None = None
    """It tries again so long after it began; without it once."""
    count: int | None = Field(default=None, ge=1)
    """How often it tries; without it until the run ends."""
    timeout: Period = 30.0
    """After this an attempt counts as a `generic_timeout_error`."""
    through: str | None = None
    """The tool of this scenario that it uses, by name."""


class ToolSpec(Strict):
    """A circumvention tool: its server stands in the world from the start, its client is started in a host."""

    recipe: str
    """A recipe's name or file."""
    name: Name
    """What apps call it in `through`."""
    server: str = "tools"
    """The world host its server runs on."""
    node: str = Field(default="client1", alias="on")
    """The host its client runs on."""
    start: Duration = 0.0
    """When its client is started."""
    options: Mapping[str, str | int] = {}
    """Values for the recipe's options."""


class Step(Strict):
    """A change at a time of the run."""

    at: Duration
    """When, from the start of the run."""
    phase: Name | None = None
    """The name of the phase that begins here."""
    policy: str | None = None
    """The policy that the box has from now on."""
    box: str = "gateway"
    """Whose policy or rule changes."""
    enable: str | None = None
    """A rule of the box's policy to switch on again."""
    disable: str | None = None
    """A rule of the box's policy to switch off."""
    link: Link | None = None
    """What the national link is from now on: a name, a file, or written out."""
    start: str | None = None
    """An app or a tool's client to start; one that a step starts doesn't start by itself."""
    stop: str | None = None
    """An app or a tool's client to stop."""


class Expectation(Strict):
    """What an app must look like in a phase. Every attempt that began in the phase is judged."""

    phase: str
    """A phase of the timeline; before the first one it is `start`."""
    app: str
    """An app's name."""
    verdict: Verdicts | None = None
    """`ok`, `slow` or `blocked`, or a list of those that are right."""
    failure: str | None = None
    """OONI's word, `connection_reset` for example."""
    blocking: Literal["dns", "tcp_ip", "http-diff", "http-failure"] | None = None
    """OONI's kind of blocking."""
    kpi: Mapping[str, Bound] = {}
    """Bounds on what the app measures, as `load_s: \"< 8\"`."""
    at_least: int = Field(default=1, ge=0)
    """Attempts that must have been judged."""

    @field_serializer("kpi", when_used="json")
    def _written(self, kpi: Mapping[str, tuple[str, float]]) -> dict[str, str]:
        return {name: f"{sign} {bound:.17g}" for name, (sign, bound) in kpi.items()}


class ProviderSpec(Strict):
    """A further Internet provider, which reaches the world through the first one."""

    clients: int = Field(default=1, ge=1, le=100)
    """Its hosts: `mobile1`, `mobile2`, … for the provider `mobile`."""
    policy: str | None = None
    """The policy of a box of its own, named `mobilegw`; without it there is none."""


class Topology(Strict):
    """How the net differs from the default country."""

    clients: int = Field(default=2, ge=1, le=100)
    """Hosts of the first provider: `client1`, `client2`, …"""
    ipv6: bool = False
    """Whether hosts have IPv6 addresses and names AAAA records."""
    isolated: bool = False
    """Whether the first provider keeps its clients apart, so that none reaches another."""
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
    trusts_censor: bool = False
    """Whether hosts trust the authorities under which the policies' `intercept` opens TLS connections."""


class Scenario(Strict):
    """A scenario."""

    scenario: Name
    """Its name."""
    title: str
    """One line for people."""
    about: str = ""
    """What it shows, and why it is so."""
    extends: str | None = None
    """Another scenario, by name or file: a key given here replaces the whole of that key there."""
    seed: int = 1
    """Where all chances of the run begin: the same seed, the same chances."""
    duration: Annotated[Duration, Field(gt=0, le=604800)] = 30.0
    """How long the run lasts."""
    clock: TimeOfDay = 43200.0
    """The time of day (UTC) at which the run begins."""
    link: Link = "national-2021"
    """The national link: a name, a file, `none` for unshaped, or written out."""
    policy: str = "open"
    """The policy of the box `gateway` at the start: a name or a file."""
    topology: Topology = Topology()
    """How the net differs from the default country."""
    tools: tuple[ToolSpec, ...] = ()
    """Circumvention tools that apps go through."""
    apps: tuple[AppSpec, ...] = ()
    """What people do."""
    timeline: tuple[Step, ...] = ()
    """What changes, in time order."""
    expect: tuple[Expectation, ...] = ()
    """What must be seen for the run to pass."""
    sources: tuple[str, ...] = ()
    """Where the facts come from."""

    @field_serializer("clock", when_used="json")
    def _written(self, clock: float) -> str:
        return f"{int(clock) // 3600:02}:{int(clock) % 3600 // 60:02}"

    @property
    def link_spec(self) -> LinkSpec | None:
        """The link, loaded; None if unshaped."""
        return link_of(self.link)

    @property
    def shape(self) -> TopologyShape:
        """The net's shape."""
        topology = self.topology
        return TopologyShape(
            clients=topology.clients, boxes=("gateway", *topology.boxes), ipv6=topology.ipv6, groups=topology.groups,
            zone=topology.names, hosts=topology.hosts, isolated=topology.isolated,
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
