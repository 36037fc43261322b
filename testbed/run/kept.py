"""What `testbed exec --keep` leaves behind: a whole run directory, in which the command is the one app."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from testbed.run import gate, record
from testbed.run.country import Country
from testbed.scenario.load import resolved
from testbed.scenario.spec import Scenario


def keep(
    country: Country,
    scenario: Scenario,
    job: Mapping[str, Any],
    about: Mapping[str, Any],
    stats: Mapping[str, Any],
    judged: Mapping[str, Any],
) -> None:
    """Write the run directory; nothing is expected of the command, so its status fails nothing."""
    directory, elapsed_s = country.directory, country.clock.elapsed()
    chosen = {key: job[key] for key in ("policy", "link", "seed") if job.get(key) is not None}
    document = yaml.safe_dump(resolved(scenario.model_copy(update=chosen)), sort_keys=False, allow_unicode=True)
    directory.scenario.write_text(document, encoding="utf-8")
    decisions = record.merge_events(country, [])
    why = gate.reasons_invalid(judged, stats, [], [])
    status = about["status"]
    attempt = {
        "app": "command", "name": job["argv"][0].rpartition("/")[2], "node": job["node"], "t": round(about["t"], 4),
        "duration_s": round(elapsed_s - about["t"], 4), "operation": None, "blocking": None, "phase": "start",
        "failure": f"unknown_failure: exit status {status}" if status else None,
        "verdict": "blocked" if status else "ok", "kpis": {"status": status, "total_s": elapsed_s - about["t"]},
    }  # fmt: skip
    words = shlex.join(job["argv"])
    result = {
        "scenario": scenario.scenario, "title": words, "about": scenario.about, "seed": country.spec.seed,
        "started": about["started"], "duration_s": round(elapsed_s, 3), "status": "invalid" if why else "passed",
        "exit_status": status, "why": why, "command": f"testbed exec … -- {words}",
        "phases": [{"name": "start", "start_s": 0.0, "end_s": elapsed_s, "policies": dict(country.spec.policies)}],
        "apps": [attempt], "expectations": [], "decisions": record.count_decisions(decisions), "stats": stats,
        "fidelity": judged,
    }  # fmt: skip
    record.write_result(directory, result)
