"""Phases: where each begins and ends, and which policy each box has in it."""

from __future__ import annotations

from testbed.scenario.spec import Scenario
from testbed.scenario.timeline import phases


def of(*timeline: dict[str, str], **more: object) -> list[tuple[str, float, float, dict[str, str]]]:
    scenario = Scenario.model_validate(
        {"scenario": "s", "title": "t", "duration": "30 s", "timeline": timeline, **more}
    )
    return [(p.name, p.start_s, p.end_s, dict(p.policies)) for p in phases(scenario)]


def test_without_a_timeline_there_is_one_phase() -> None:
    assert of() == [("start", 0, 30, {"gateway": "open"})]


def test_a_phase_begins_with_its_step_and_ends_with_the_next() -> None:
    assert of({"at": "10 s", "phase": "dark", "policy": "tm-2022"}, {"at": "20 s", "phase": "light"}) == [
        ("start", 0, 10, {"gateway": "open"}),
        ("dark", 10, 20, {"gateway": "tm-2022"}),
        ("light", 20, 30, {"gateway": "tm-2022"}),
    ]


def test_a_phase_at_the_beginning_takes_the_place_of_start() -> None:
    assert of({"at": "0 s", "phase": "dark", "policy": "tm-2022"}) == [("dark", 0, 30, {"gateway": "tm-2022"})]


def test_each_box_has_its_own_policy() -> None:
    topology = {"boxes": {"second": "tm-2022"}, "providers": {"mobile": {"policy": "tm-2023-08"}}}
    ((*_, policies),) = of(topology=topology)
    assert policies == {"gateway": "open", "second": "tm-2022", "mobilegw": "tm-2023-08"}
