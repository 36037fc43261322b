"""`testbed doctor`: what this machine can do, each thing found out by trying."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from testbed.net import probes


@click.command("doctor", short_help="What this machine can do, found out by trying.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(as_json: bool) -> int:
    """Try each kernel feature and program; exit 3 if a needed one is missing."""
    findings = probes.examine()
    missing = [finding for finding in findings if finding.probe.needed and not finding.works]
    if as_json:
        entries = [
            {"name": f.probe.name, "works": f.works, "needed": f.probe.needed, "without": f.probe.without,
             "remedy": "" if f.works else f.probe.remedy, "said": "" if f.works else f.said}
            for f in findings
        ]  # fmt: skip
        print(json.dumps({"able": not missing, "findings": entries}, indent=1, ensure_ascii=False))
        return 3 if missing else 0
    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "without it", "remedy"):
        table.add_column(title)
    for finding in findings:
        mark = "[green]✓[/]" if finding.works else "[red]✗[/]" if finding.probe.needed else "[yellow]–[/]"
        rest = ("", "") if finding.works else (finding.probe.without, finding.probe.remedy)
        table.add_row(mark, finding.probe.name, *rest)
    Console().print(table)
    print("this machine can run everything needed" if not missing else f"{len(missing)} needed things are missing")
    return 3 if missing else 0
