"""The control of a tool's test, its questions answered by a script instead of a net."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from testbed.errors import MachineError
from testbed.run.country import Country
from testbed.run.trial import Asked, Trial
from testbed.tools.recipe import load_recipe
from testbed.tools.runner import PortTakenError, Tool, ToolError

Finish = Callable[[float], dict[str, Any]]
RESET = {"rule": "tls-sni", "reason": "reset", "verdict": "drop", "flow": "tcp 100.64.1.1:4000 > 198.18.0.30:443"}
WORD = "http://www.example.org/ultrasurf"


class Scripted(Trial):
    """A trial whose control is reset in the attempts named."""

    reset_in: Sequence[int] = ()
    asked_for = 0
    events: Sequence[dict[str, Any]] = ()
    to_come: Sequence[dict[str, Any]] = ()

    def _events(self) -> list[dict[str, Any]]:
        return list(self.events)

    def _begin(self, node: str, jobs: Sequence[Mapping[str, Any]], access: Mapping[str, Any]) -> Finish:
        def finish(within_s: float) -> dict[str, Any]:
            self.events = [*self.events, *self.to_come]
            return {}

        return finish

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

    def take(box: str, policy: str, *, fresh: bool = False) -> None:
        policies.append(policy)

    country = SimpleNamespace(
        set_policy=take,
        renew_policy=take,
        spec=SimpleNamespace(link=link),
        stats=dict,
        address=lambda node: "100.64.1.1",
    )
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


@pytest.mark.parametrize(
    ("flow", "own"),
    [
        ("tcp 100.64.1.1:40000 > 198.18.0.30:443", True),
        ("ip/1 100.64.1.1 > 198.18.0.30", True),  # a ping has no port
        ("ip/1 198.18.0.30 > 100.64.1.1", True),
        ("", True),  # what the kernel dropped by itself
        ("tcp 100.64.1.2:40000 > 198.18.0.30:443", False),
        ("ip/1 100.64.1.11 > 198.18.0.30", False),
    ],
)
def test_what_fell_on_the_tools_host_is_known_with_and_without_ports(flow: str, own: bool) -> None:
    trial, _ = _trial()
    trial.events = [{"flow": flow}]
    assert trial._own_events(0) == ([{"flow": flow}] if own else [])


class Dying:
    """A tool whose client starts and then does what a case says."""

    name, rendered = "fake", SimpleNamespace(proxy=None, command=(), client=())

    def __init__(self, fails: Exception | None = None, died: Sequence[str] = ()) -> None:
        self._fails, self._died, self.stopped = fails, list(died), 0

    def start_client(self) -> None:
        if self._fails is not None:
            raise self._fails

    def died(self) -> list[str]:
        return self._died

    def said(self) -> dict[str, str]:
        return {"client": "bye"}

    def stop_client(self) -> None:
        self.stopped += 1


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PortTakenError("fake: client can't start: tcp/1080 of client1 is in use already"), True),
        (MachineError("the program `x` is not installed", "install it"), True),
        (ToolError("fake: client is not ready after 30 s"), False),  # a VPN that can't connect says so
    ],
)
def test_a_tool_that_no_censor_kept_from_starting_is_not_called_blocked(error: Exception, why: bool) -> None:
    trial, _ = _trial()
    trial.tool = cast(Tool, Dying(error))
    found = trial._tested("https://a.example/")
    assert found["started"] == str(error)
    assert found["why"] == (["no censor keeps a tool from starting so"] if why else [])


@pytest.mark.parametrize(
    ("died", "events", "word"),
    [
        ([], [], None),
        (["fake: client ended with status 3: panic"], [], "broken"),
        (["fake: client ended with status 255: reset by peer"], [RESET], "unstable"),
    ],
)
def test_a_client_that_dies_in_a_soak_is_said(died: list[str], events: list[dict[str, Any]], word: str | None) -> None:
    trial, policies = _trial()
    tool = Dying(died=died)
    trial.tool = cast(Tool, tool)
    trial.to_come = events
    found = trial._soaked("geneva-5", "https://a.example/")
    assert (found.get("died"), found.get("outcome")) == (died or None, word)
    assert tool.stopped == 1
    assert policies == ["open", "geneva-5", "open"]
