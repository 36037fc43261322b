"""A scenario's phases: which interval each one is, and which policies hold in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.scenario.spec import Scenario


@dataclass(frozen=True, slots=True)
class Phase:
    """A named interval of the run, in seconds from its start, and each box's policy in it."""

    name: str
    start_s: float
    end_s: float
    policies: Mapping[str, str]

    def holds(self, t: float) -> bool:
        """Say whether a moment lies in the phase."""
        return self.start_s <= t < self.end_s


def phases(scenario: Scenario) -> tuple[Phase, ...]:
    """Return the phases in order; before the first named one there is `start`."""
    found: list[Phase] = []
    policies = dict(scenario.box_policies)
    name, begun = "start", 0.0
    for step in scenario.timeline:
        if step.phase is not None:
            if step.at > begun:
                found.append(Phase(name, begun, step.at, dict(policies)))
            name, begun = step.phase, step.at
        if step.policy is not None:
            policies[step.box] = step.policy
    found.append(Phase(name, begun, scenario.duration, dict(policies)))
    return tuple(found)
