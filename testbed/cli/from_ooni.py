"""`testbed policy from-ooni`: OONI's measurements of a country become a draft policy, each rule with its evidence."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from testbed.errors import InputError, Problem
from testbed.ooni.draft import Draft, Thresholds, draft
from testbed.ooni.files import Reading, read_files
from testbed.ooni.measurement import Measurement
from testbed.units import parse_fraction


def _share(context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return parse_fraction(float(value) if value.replace(".", "", 1).isdigit() else value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("from-ooni", short_help="Draft a policy from OONI measurements.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Write policy and lists there.")
@click.option("--min-measurements", type=click.IntRange(1), default=3, show_default=True, metavar="N",
              help="A name or address counts from so many measurements on.")  # fmt: skip
@click.option("--min-share", default="60 %", show_default=True, metavar="SHARE", callback=_share,
              help="And if in this share of them it was stopped in one and the same way.")  # fmt: skip
@click.option("--country", metavar="CC", help="Only measurements from there; needed if the files hold several.")
@click.option("--json", "as_json", is_flag=True, help="Print policy, lists and report as one JSON object.")
def command(
    files: tuple[Path, ...], output: Path | None, min_measurements: int, min_share: float, country: str | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Draft a policy from FILE…, web_connectivity measurements as JSON lines (.jsonl, .gz); others are only counted.

    Only what failed while OONI's test helper succeeded counts. What is ambiguous is reported, not guessed.

    \b
    testbed policy from-ooni 2023-0*.jsonl.gz --output draft
    testbed check draft/ooni-tm.yaml
    """
    reading = read_files(files)
    chosen = _of_country(reading, country, files)
    found = draft(chosen, Thresholds(min_measurements, min_share))
    if output is not None:
        _write(found, output)
    if as_json:
        print(json.dumps(_report(found, reading, chosen), indent=1, ensure_ascii=False))
        return 0
    if output is None:
        print(found.policy(beside=False), end="")
    for line in _report_lines(found, reading, chosen, output):
        print(line, file=sys.stderr)
    return 0


def _of_country(reading: Reading, country: str | None, files: Sequence[Path]) -> list[Measurement]:
    counts = Counter(item.country for item in reading.measurements)
    if country is None and len(counts) > 1:
        said = ", ".join(f"{code} {number}" for code, number in counts.most_common())
        what = f"measurements from {len(counts)} countries ({said})"
        raise InputError([Problem(str(files[0]), what, f"choose one: --country {counts.most_common(1)[0][0]}")])
    chosen = [item for item in reading.measurements if country is None or item.country == country.upper()]
    if not chosen:
        others = ", ".join(f"{name} {number}" for name, number in sorted(reading.others.items())) or "none"
        where = f" from {country.upper()}" if country else ""
        what = f"no web_connectivity measurement{where}; other tests: {others}".replace("; ", ", ")
        raise InputError([Problem(str(files[0]), what, "give web_connectivity measurements")])
    return chosen


def _write(found: Draft, folder: Path) -> None:
    try:
        (folder / "lists").mkdir(parents=True, exist_ok=True)
        (folder / f"{found.name}.yaml").write_text(found.policy(beside=True), encoding="utf-8")
        for name, text in found.lists().items():
            (folder / "lists" / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError([Problem(str(folder), f"can't be written: {error.strerror}", "give another place")]) from None


def _report(found: Draft, reading: Reading, chosen: Sequence[Measurement]) -> dict[str, object]:
    return {
        "policy": found.policy(beside=False), "lists": found.lists(), "measurements": len(chosen),
        "without_helper": sum(not item.compared for item in chosen),
        "other_tests": dict(sorted(reading.others.items())),
        "ambiguous": [
            {"way": a.way, "subject": a.subject, "tried": a.tried, "ends": dict(a.ends), "why": a.why}
            for a in found.ambiguous
        ],
        "skipped": [{"place": p.place, "what": p.what, "mend": p.mend} for p in reading.problems],
    }  # fmt: skip


def _report_lines(found: Draft, reading: Reading, chosen: Sequence[Measurement], output: Path | None) -> list[str]:
    lines = [f"{problem}; line skipped" for problem in reading.problems]
    lines.append(f"web_connectivity measurements: {len(chosen)}; rules: {len(found.rules)}")
    helpless = sum(not item.compared for item in chosen)
    if helpless:
        lines.append(f"{helpless} without the test helper's answer: not compared")
    if reading.others:
        said = ", ".join(f"{name} {number}" for name, number in sorted(reading.others.items()))
        lines.append(f"other tests, not read: {said}")
    if reading.problems:
        lines.append(f"{len(reading.problems)} of {reading.lines} lines skipped")
    lines += (f"ambiguous: {item}" for item in found.ambiguous)
    if output is not None:
        lines.append(f"written: {output / found.name}.yaml and {len(found.rules)} lists")
    return lines
