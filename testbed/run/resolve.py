"""From a scenario and a command line to what `Country` brings up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.dpi.compiled import check_plugins
from testbed.dpi.policy import load_policy
from testbed.link.load import load_link
from testbed.link.spec import LinkSpec
from testbed.middlebox.plugins import load_allowed
from testbed.run.country import CountrySpec
from testbed.run.directory import RunDirectory
from testbed.scenario.spec import Scenario
from testbed.scenario.topology import plan

DEFAULT_POLICY, DEFAULT_LINK = "tm-2022", "national-2021"


def default_scenario() -> Scenario:
    """Return the country that `testbed exec` uses when no scenario is named."""
    return Scenario(scenario="exec", title="A single command", link=DEFAULT_LINK, policy=DEFAULT_POLICY)


def country_spec(scenario: Scenario, directory: RunDirectory, job: Mapping[str, Any]) -> CountrySpec:
    """Return the country of a scenario, with the policy, link and seed of the command line if it names them."""
    topology = plan(scenario.shape)
    chosen = job.get("policy")
    policies = {
        box: str(chosen if chosen and box == scenario.shape.boxes[0] else policy)
        for box, policy in scenario.box_policies.items()
    }
    plugins = bool(job.get("plugins"))
    issuers: set[str] = set()
    for reference in (*policies.values(), *(step.policy for step in scenario.timeline if step.policy is not None)):
        if load_policy(reference, topology.groups).program:
            continue
        policy = load_allowed(reference, topology.groups, plugins=plugins)
        check_plugins(policy)
        issuers |= policy.issuers
    link: LinkSpec | None = load_link(job["link"]) if job.get("link") else scenario.link_spec
    seed = scenario.seed if job.get("seed") is None else job["seed"]
    return CountrySpec(
        topology, link, policies, seed, capture=job["capture"], plugins=plugins, issuers=tuple(sorted(issuers)),
        trusts_censor=scenario.topology.trusts_censor,
    )  # fmt: skip
