"""How a cell ended: one word, why, and the figures that tell most. Read from what its run left behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from testbed.campaign.order import Order
from testbed.campaign.pace import Lag
from testbed.report.text import summarise

#: What proves nothing: not faithful or too long; a program is missing; cancelled; a bug of ours or a lost machine
UNPROVEN = ("invalid", "skipped", "interrupted", "error")
_VERDICTS = {"passes": "ok", "unstable": "unstable", "blocked": "blocked", "broken": "broken", "invalid": "invalid"}
_RANKS = ("ok", "slow", "blocked")
_TOOL_LOST = "the tool "
_NO_LAG = Lag()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a cell. `run`: its run directory, from the folder of the matrix; `key`: what it depended on."""

    cell: str
    word: str
    why: tuple[str, ...] = ()
    detail: str = ""
    took_s: float = 0.0
    run: str | None = None
    where: str = ""
    """The machine that ran it, if it was another one."""
    alone: bool = False
    """Repeated alone after load had spoilt it, or after something had beside others gone wrong that could be load."""
    lag: Lag = _NO_LAG
    key: Mapping[str, str] = field(default_factory=dict)

    @property
    def proves(self) -> bool:
        """Say whether it proves anything."""
        return self.word not in UNPROVEN

    def holds(self, expected: Sequence[str]) -> bool | None:
        """Say whether it is as expected; None if it proves nothing."""
        return ("any" in expected or self.word in expected) if self.proves else None

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def read(path: Path) -> Outcome | None:
    """Read an outcome; None where there is none, or none that this version wrote."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Outcome(**{**found, "why": tuple(found["why"]), "lag": Lag(**found["lag"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def judged(order: Order, status: int, folder: Path, log: str) -> Outcome:
    """Return how a run ended, from its exit status, its run directory below `folder` and the end of its log."""
    run = next((path.parent for path in sorted((folder / "run").glob("**/result.json"))), None)
    if run is None:
        word = {130: "interrupted", 3: "invalid"}.get(status, "error")
        return Outcome(order.cell, word, (log or f"ended with status {status} and without a word",))
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    if status == 4:
        return Outcome(order.cell, "error", (log,), run=str(run.relative_to(folder)))
    word, why, detail = {"tool": _tool, "scenario": _scenario, "through": _through}[order.kind](result, order)
    return Outcome(order.cell, word, tuple(why), detail, run=str(run.relative_to(folder)))


Found = tuple[str, list[str], str]


def _scenario(result: Mapping[str, Any], order: Order) -> Found:
    held = sum(bool(item["holds"]) for item in result["expectations"])
    failed = [f"{i['phase']} / {i['app']}: {i['why']}" for i in result["expectations"] if not i["holds"]]
    return result["status"], [*result["why"], *failed], f"{held} of {len(result['expectations'])} hold"


def _through(result: Mapping[str, Any], order: Order) -> Found:
    """Judge a scenario by the apps that went through the tool; the expectations left in it are its control."""
    word, why, _ = _scenario(result, order)
    if word == "invalid" and result["why"] and all(text.startswith(_TOOL_LOST) for text in result["why"]):
        return "broken", list(result["why"]), ""
    if word == "failed":
        return "invalid", [f"the control is not as it should be: {text}" for text in why], ""
    own = [attempt for attempt in result["apps"] if attempt["name"] in order.users]
    if word != "passed" or not own:
        return ("invalid" if word == "passed" else word), why or ["no app went through the tool"], ""
    worst = max((str(attempt["verdict"]) for attempt in own), key=_RANKS.index)
    detail = summarise(own)[1]
    blocked = [f"{a['name']}: {a['failure']}" for a in own if a.get("failure")]
    died = [str(text) for text in result.get("tools", {}).values()]
    return worst, list(dict.fromkeys([*blocked, *died])), detail


def _tool(result: Mapping[str, Any], order: Order) -> Found:
    if result.get("skipped"):
        return "skipped", [str(result["skipped"])], ""
    item = result["policies"][-1]
    why = [*item["why"], *([str(item["started"])] if item.get("started") else []), *item.get("died", [])]
    success = item.get("success", {})
    word = _VERDICTS[item["verdict"]]
    if word not in ("ok", "invalid"):
        why += [f"{what} ({times}x)" for what, times in success.get("failures", {}).items()]
        why += [f"by {entry['rule']}: {entry['reason']}" for entry in item.get("blocked_by", [])]
    if word == "broken" and not (item.get("started") or item.get("died")):
        why += [f"{name} said: {text}" for name, text in item.get("said", {}).items()]
    return word, why, _figures(item) if word in ("ok", "unstable") else ", ".join(_rules(item))


def _rules(item: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(str(entry["rule"]) for entry in item.get("blocked_by", [])))


def _figures(item: Mapping[str, Any]) -> str:
    success, load = item["success"], item.get("load")
    first = success["first_byte_s"]["p50"]
    parts = [] if success["ok"] == success["of"] else [f"{success['ok']} of {success['of']}"]
    parts += [f"{first:.2f} s"] if first is not None else []
    parts += [f"{load['goodput_bps'] / 1e3:,.0f} kbit/s"] if load else []
    return ", ".join(parts)


def timed_out(order: Order, outcome: Outcome) -> Outcome:
    """Return the outcome of a run that had to be ended."""
    return replace(outcome, word="invalid", why=(f"no end after {order.timeout_s:g} s", *outcome.why))
