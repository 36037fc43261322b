"""What a finished run leaves behind: merged events tied to capture frames, fidelity, result, JUnit, HTML."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from testbed.report import html, junit, tables
from testbed.run import capture, roundtrips
from testbed.run.country import Country
from testbed.run.directory import RunDirectory, read_lines


def merge_events(country: Country, steps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write `events.jsonl`, round trips and annotated captures; return the censor's decisions with frame numbers."""
    directory = country.directory
    roundtrips.write(country)
    merged: list[dict[str, Any]] = [dict(step) for step in steps]
    decisions: list[dict[str, Any]] = []
    for box in sorted(country.spec.policies):
        own = list(read_lines(directory.box_events(box)))
        for side in ("inside", "outside"):
            raw = country.raw_capture(box, side)
            if country.spec.capture and raw.exists():
                frames = capture.annotate(raw, directory.capture(box, side), own)
                raw.unlink()
                for event in own:
                    event.setdefault("frames", {})[side] = frames.get(event["trigger"]["hash"], [])
        decisions.extend(own)
    with contextlib.suppress(OSError):  # not empty: captures are there
        (directory.path / "pcap").rmdir()
    merged.extend(decisions)
    merged.sort(key=lambda event: event["t"])
    with directory.events.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(event, sort_keys=True, ensure_ascii=False) + "\n" for event in merged)
    return decisions


def count_decisions(decisions: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many decisions there were, in all and by rule."""
    by_rule = Counter(str(event["rule"]) for event in decisions)
    return {"total": by_rule.total(), "by_rule": dict(sorted(by_rule.items()))}


def write_result(directory: RunDirectory, result: Mapping[str, Any], *, drawn: bool = True) -> None:
    """Write the three forms of the result, `result.json` last: its presence says that the run is complete."""
    (directory.path / "junit.xml").write_text(junit.render(result), encoding="utf-8")
    directory.write_json(directory.fidelity, result["fidelity"])
    try:
        page = html.render(tables.from_directory(directory, result), drawn=drawn)
        (directory.path / "report.html").write_text(page, encoding="utf-8")
    finally:  # whatever is wrong with the page, the run was made
        directory.write_json(directory.result, result)
