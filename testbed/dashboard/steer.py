"""What a teacher may do to a run, and nothing else: each function is one kind of change, checked before it is made.

The run is told first (its `run` socket), so that it can't be judged as if nobody had touched it; then the box or the
link is changed through its own socket. There is no way from here to a command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from testbed import control, shipped
from testbed.dpi.byhand import pattern_for
from testbed.errors import InputError, Problem
from testbed.run.directory import RunDirectory

SLOWEST_BPS, FASTEST_BPS = 10_000.0, 100_000_000.0
_TIMEOUT_S = 5.0


class Steering:
    """The control sockets of one run. `OSError` from any method means that it is over."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._whole: dict[str, Any] | None = None

    def policy(self, box: str, policy: str) -> None:
        """Give a box another of the policies that ship."""
        if policy not in shipped.names("policies"):
            raise _refused("policy", f"no policy {policy!r}", f"known: {', '.join(shipped.names('policies'))}")
        self._change(box, {"policy": policy, "box": box}, {"op": "policy", "policy": policy})

    def rule(self, box: str, rule: str, enabled: bool) -> None:
        """Switch one rule of a box on or off."""
        step = {"enable" if enabled else "disable": rule, "box": box}
        self._change(box, step, {"op": "rule", "rule": rule, "enabled": enabled})

    def block(self, box: str, name: str, blocked: bool) -> None:
        """Block a name and all that is under it, or let it through again."""
        try:
            pattern = pattern_for(name)
        except ValueError as error:
            why, _, mend = str(error).partition("; ")
            raise _refused("name", why, mend) from None
        word = "block" if blocked else "unblock"
        self._change(box, {word: pattern[1:], "box": box}, {"op": "block", "name": pattern[1:], "blocked": blocked})

    def rate(self, rate_bps: float) -> None:
        """Set the link's rate, both ways, at every hour."""
        if not SLOWEST_BPS <= rate_bps <= FASTEST_BPS:
            bounds = f"{SLOWEST_BPS / 1e6:g} to {FASTEST_BPS / 1e6:g} Mbit/s"
            raise _refused("rate", f"{rate_bps / 1e6:g} Mbit/s can't be set", f"choose from {bounds}")
        values = {"rate": f"{rate_bps!r} bit/s", "by_clock": []}
        if self._whole is not None:
            self._whole = _with(self._whole, values)
        self._set_link({"rate": f"{rate_bps / 1e6:g} Mbit/s"}, _with(self._link(), values))

    def cut(self, down: bool) -> None:
        """Take the national link down, so that every packet is lost on it, or bring it back as it was."""
        if down:
            whole = self._link()
            if float(whole["down"].get("loss", 0.0)) < 1.0:
                self._whole = whole
            cut = {way: {k: v for k, v in whole[way].items() if k != "bursts"} for way in ("up", "down")}
            self._set_link({"network": "down"}, _with({**whole, **cut}, {"loss": 1.0, "by_clock": []}))
            return
        whole, self._whole = self._whole or self._as_started(), None
        self._set_link({"network": "up"}, whole)

    def timeline(self, operation: str) -> None:
        """Hold the timeline, let it go, take its next step now, or stop the run."""
        if operation not in ("hold", "go", "next", "stop"):
            raise _refused("timeline", f"no operation {operation!r}", "choose hold, go, next or stop")
        control.call(self._directory.control("run"), {"op": operation}, _TIMEOUT_S)

    def _change(self, box: str, step: Mapping[str, Any], request: Mapping[str, Any]) -> None:
        if box not in self._boxes():
            raise _refused("box", f"no box {box!r}", f"there are {', '.join(self._boxes())}")
        self._say(step)
        control.call(self._directory.control(box), request, _TIMEOUT_S)

    def _say(self, step: Mapping[str, Any]) -> None:
        """Tell the run; `exec` and `shell` judge nothing and have nobody to tell."""
        path = self._directory.control("run")
        if path.exists():
            control.call(path, {"op": "steered", "step": step}, _TIMEOUT_S)

    def _boxes(self) -> list[str]:
        plan = json.loads(self._directory.plan.read_text(encoding="utf-8"))
        return [node["name"] for node in plan["nodes"] if node["kind"] == "box"]

    def _link(self) -> dict[str, Any]:
        path = self._directory.control("link")
        if not path.exists():
            raise _refused("link", "this run has none: nothing shapes it", "start a scenario with a link")
        return dict(control.call(path, {"op": "get"}, _TIMEOUT_S)["link"])

    def _set_link(self, step: Mapping[str, Any], link: Mapping[str, Any]) -> None:
        self._say(step)
        control.call(self._directory.control("link"), {"op": "set", "link": link}, _TIMEOUT_S)

    def _as_started(self) -> dict[str, Any]:
        path = self._directory.path / "work" / "link.config.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))["link"])


def _with(link: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {**link, **{way: {**link[way], **values} for way in ("up", "down")}}


def _refused(what: str, why: str, mend: str) -> InputError:
    return InputError([Problem(what, why, mend)])
