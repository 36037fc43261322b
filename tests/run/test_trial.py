"""The control of a tool's test, its questions answered by a script instead of a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.run.country import Country
from testbed.run.trial import Asked, Trial
from testbed.tools.recipe import load_recipe
from testbed.tools.runner import Tool

WORD = "http://www.example.org/ultrasurf"


class Scripted(Trial):
    """A trial whose control is reset in the attempts named."""

    reset_in: Sequence[int] = ()
    asked_for = 0

    def _measure(self, node: str, jobs: Sequence[Mapping[str, Any]], access: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for job in jobs:
            if judged := job["name"] == "blocked" and len(job["urls"]) == 1:
                self.asked_for += 1
            failure = "connection_reset" if judged and self.asked_for in self.reset_in else None
            found[job["name"]] = [
                {"url": url, "failure": failure, "operation": "read", "bytes": 0, "via": "", "first_byte_s": 0.1}
                for url in job["urls"]
            ]
        return found


def _trial() -> tuple[Scripted, list[str]]:
    policies: list[str] = []
    link = SimpleNamespace(up=SimpleNamespace(rate=None), down=SimpleNamespace(rate=None))

    def take(box: str, policy: str) -> None:
        policies.append(policy)

    country = SimpleNamespace(set_policy=take, renew_policy=take, spec=SimpleNamespace(link=link))
    asked = Asked("direct", ("geneva-5",), 5, 0.0, {}, None, 6.0)
    return Scripted(cast(Country, country), asked, load_recipe("direct"), cast(Tool, None)), policies


@pytest.mark.parametrize(("reset_in", "asked_for"), [((1,), 1), ((2,), 2), ((), 3)])
def test_a_censor_that_races_is_asked_again_afresh(reset_in: Sequence[int], asked_for: int) -> None:
    """Geneva's fifth mock censor resets the server alone, which may have answered by then."""
    trial, policies = _trial()
    trial._controls("open", judged=False)
    trial.reset_in = reset_in
    found = trial._controls("geneva-5", judged=True)
    assert trial.asked_for == asked_for
    assert policies == ["geneva-5"] * asked_for, "it follows one connection only, and must have seen none"
    assert found["blocked"] == (WORD if reset_in else None)


def test_after_a_look_without_the_censor_ones_own_policy_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box knows a policy's name only, by which a file is not found again."""
    monkeypatch.setattr("testbed.run.trial.forget_names", lambda: None)
    trial, policies = _trial()
    none = {"passes": None, "blocked": WORD, "how": "reset"}
    assert trial._two_sided("/home/me/own.yaml", none, judged=True) == []
    assert policies == ["open", "/home/me/own.yaml"]
