"""Lab 8: the student's table of measurements against the capture, in OONI's words; and the plan against its rules."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

from testbed.documents import Document, read_document
from testbed.errors import InputError, Problem
from testbed.labs.evidence import RST, Frame, missing_from
from testbed.labs.work import Work
from testbed.units import parse_duration

_LAB = ("100.64.0.0/10", "198.18.0.0/15", "2001:db8::/32")
_LEAST, _LEAST_TARGETS, _LEAST_GAP_S, _LONGEST_KEPT_DAYS = 5, 3, 1.0, 365
_FORBIDDEN = {
    "name", "names", "email", "mail", "phone", "imsi", "imei", "location", "gps", "home", "client", "ip", "user",
    "users", "person", "people",
}  # fmt: skip


def examine(work: Work) -> None:
    """Mark lab 8."""
    work.judge("measurements.jsonl: five inputs, blocked ones and a control", lambda: _enough(work))
    work.judge("each failure in OONI's word, as your capture shows it", lambda: _true(work))
    work.judge("plan.yaml: only hosts that agreed or are your own", lambda: _hosts(work))
    work.judge("plan.yaml: a control, a slow pace, an end", lambda: _pace(work))
    work.judge("plan.yaml: nothing kept about people", lambda: _kept(work),
               "`keeps` is empty: say what you write down")  # fmt: skip


def _lines(work: Work) -> list[dict[str, Any]]:
    path = work.file("measurements.jsonl")
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError:
        raise InputError([Problem(str(path), "is not there", "write a JSON line for each measurement")]) from None
    except ValueError as error:
        raise InputError([Problem(str(path), f"not JSON lines: {error}", "one JSON object a line")]) from None
    bad = [line for line in found if not isinstance(line, dict) or not {"input", "failure"} <= set(line)]
    if bad:
        raise InputError([Problem(str(path), "a line without `input` or `failure`", "give each line both")])
    return found


def _enough(work: Work) -> bool | str:
    lines = _lines(work)
    inputs = {str(line["input"]) for line in lines}
    if len(inputs) < _LEAST:
        return f"{len(inputs)} inputs"
    failures = {line["failure"] for line in lines}
    return (len(failures) > 1 and None in failures) or "all fared alike: without a control nothing is shown"


def _true(work: Work) -> bool | str:
    seen = {str(line["input"]): _failure(work, str(line["input"])) for line in _lines(work)}
    if not seen:
        return "no line is in it"
    for line in _lines(work):
        truth = seen[str(line["input"])]
        if truth is False:
            return f"no request from outside for {line['input']} is in your capture"
        if line["failure"] != truth:
            return f"{line['input']}: your capture shows something else"
    return True


def _failure(work: Work, name: str) -> str | bool | None:
    """Return how requests from outside for a name ended: OONI's word, None if answered, False if there were none."""
    host = f"host: {name}\r\n".encode()
    asked = [f for f in work.outside if f.target == work.address and host in f.payload.lower()]
    if not asked:
        return False
    flow = asked[-1].flow
    forged = {f.flow for f in missing_from(work.outside, work.inside) if f.flags & RST and f.target == asked[-1].source}
    if flow in forged:
        return "connection_reset"
    return None if any(_is_answer(frame, flow) for frame in work.outside) else "generic_timeout_error"


def _is_answer(frame: Frame, flow: object) -> bool:
    return frame.flow == flow and frame.payload.startswith(b"HTTP/")


def _plan(work: Work) -> Document:
    return read_document(work.file("plan.yaml"))


def _hosts(work: Work) -> bool | str:
    targets = _plan(work).data.get("targets") or []
    for target in targets:
        if not isinstance(target, Mapping):
            return "a target is not a mapping of `address` and `consent`"
        try:
            address = ipaddress.ip_address(str(target.get("address")))
        except ValueError:
            return f"{target.get('address')!r} is no address"
        own = any(
            address in ipaddress.ip_network(prefix) for prefix in _LAB if address.version == (6 if ":" in prefix else 4)
        )
        consent = str(target.get("consent") or "")
        if not own and not consent.startswith(("written", "own")):
            return f"{address} is somebody else's, and nobody is said to have agreed in writing"
    different = len({str(target["address"]) for target in targets})
    return different >= _LEAST_TARGETS or f"{different} targets"


def _pace(work: Work) -> bool | str:
    plan = _plan(work).data
    if not plan.get("control"):
        return "no control: nobody could tell a block from a broken line"
    try:
        if parse_duration(str(plan.get("every"))) < _LEAST_GAP_S:
            return "too fast: a connection a second at most"
        parse_duration(str(plan.get("ends_after")))
    except ValueError as error:
        return f"`every`, `ends_after`: {error}"
    return bool(plan.get("contact")) or "nobody who is disturbed by it can find out whom to ask"


def _kept(work: Work) -> bool | str:
    plan = _plan(work).data
    keeps = plan.get("keeps") or []
    kept = {str(item).lower() for item in ([keeps] if isinstance(keeps, str) else keeps)}
    told = sorted(item for item in kept if _FORBIDDEN & set(re.split("[^a-z]+", item)))
    if told:
        return f"it keeps {', '.join(told)}"
    days = plan.get("kept_days")
    if not isinstance(days, int) or not 0 < days <= _LONGEST_KEPT_DAYS:
        return "for how many days (a year at most)?"
    return bool(kept)
