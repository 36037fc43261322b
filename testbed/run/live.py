"""The inside of every live verb: `python -m testbed.run.live JOB.json`, started by the sandbox as its first program.

Reads the job, brings the country up, does what the verb asks, leaves with its exit status.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.clock import RunClock
from testbed.errors import InputError, Problem, TestbedError, UnfaithfulError
from testbed.run import faithful
from testbed.run.country import Country
from testbed.run.directory import RunDirectory, read_lines
from testbed.run.resolve import country_spec, default_scenario
from testbed.scenario.load import load_scenario

_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 0.5
_INTERRUPTING = (signal.SIGINT, signal.SIGTERM)


def main(path: Path) -> int:
    """Do the job described in a file; return the exit status."""
    job = json.loads(path.read_text(encoding="utf-8"))
    directory = RunDirectory(path.parent.parent)
    os.chdir(job["cwd"])
    for number in _INTERRUPTING:
        signal.signal(number, _interrupt)
    if job["verb"] == "run":
        from testbed.run.player import play

        return play(job, directory)
    if job["verb"] == "tool":
        from testbed.run import trial

        return trial.play(job, directory)
    scenario = load_scenario(job["scenario"]) if job["scenario"] else default_scenario()
    spec = replace(country_spec(scenario, directory, job), capture=job["capture"])
    with Country(spec, directory, RunClock.start()) as country:
        if job["verb"] == "shell":
            return _shell(country, job)
        return _exec(country, job)


def _interrupt(number: int, frame: object) -> None:
    """Stop cleanly, once: what follows must not be disturbed."""
    for each in _INTERRUPTING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _exec(country: Country, job: Mapping[str, Any]) -> int:
    """Run one command with this process's own terminal; its status becomes ours, 128 + n if a signal ended it."""
    node = job["node"]
    hosts = [item.name for item in country.spec.plan.nodes if item.kind not in ("switch", "link")]
    if node not in hosts:
        raise InputError([Problem(f"--node {node}", "no such node", f"choose one of {', '.join(sorted(hosts))}")])
    command = country.fabric.popen(node, job["argv"], stdin=None, stdout=None, stderr=None, cwd=job["cwd"])
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: command.send_signal(received))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal gives Ctrl-C to the command too: it decides
    status, died = _wait(country, command)
    stats = {} if died else country.stats()
    country.stop()
    judged = faithful.measure(country, stats)
    country.directory.write_json(country.directory.fidelity, judged)
    if job["json"]:
        events = list(read_lines(country.directory.box_events("gateway")))
        print(json.dumps({"status": status, "decisions": events, "died": died, "fidelity": judged}), file=sys.stderr)
    if died:
        raise UnfaithfulError("\n".join(died))
    if not judged["faithful"]:
        print(f"testbed: the link was not faithful: {'; '.join(judged['reasons'])}", file=sys.stderr)
    return status if status >= 0 else 128 - status


def _wait(country: Country, command: subprocess.Popen[bytes]) -> tuple[int, list[str]]:
    """Wait for a command; return its status and what of the country died. Without its country it is ended."""
    while True:
        try:
            return command.wait(timeout=_LOOK_S), country.check_alive()
        except subprocess.TimeoutExpired:
            if died := country.check_alive():
                command.kill()
                return command.wait(), died


def _shell(country: Country, job: Mapping[str, Any]) -> int:
    """Hand the terminal to Mininet's prompt."""
    if job["json"]:
        nodes = [item.name for item in country.spec.plan.nodes]
        print(json.dumps({"run": str(country.directory.path), "nodes": nodes}), flush=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the prompt has its own idea of Ctrl-C
    country.fabric.prompt()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
    except TestbedError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except Exception:
        traceback.print_exc()
        sys.exit(4)
