"""The inside of every live verb: `python -m testbed.run.live JOB.json`, started by the sandbox as its first program.

Reads the job, brings the country up, does what the verb asks, leaves with its exit status.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.clock import RunClock
from testbed.errors import TestbedError, as_data
from testbed.net.stem import Stem
from testbed.run.country import Country
from testbed.run.directory import RunDirectory
from testbed.run.resolve import country_spec, default_scenario
from testbed.scenario.load import load_scenario

_COUNTRY = ("testbed.middlebox.box", "testbed.middlebox.pipe", "testbed.world.zone", "testbed.world.backend")
_APPS = ("testbed.apps.__main__", "testbed.apps.web")
_TEST = ("testbed.tools.measure",)
#: What runs start of ours, and what that loads when it is used
PROGRAMS = (*_COUNTRY, *_APPS, *_TEST)
_INTERRUPTING = (signal.SIGINT, signal.SIGTERM)


def main(path: Path) -> int:
    """Do the job described in a file; return the exit status."""
    job = json.loads(path.read_text(encoding="utf-8"))
    directory = RunDirectory(path.parent.parent)
    os.chdir(job["cwd"])
    for number in _INTERRUPTING:
        signal.signal(number, _interrupt)
    more = {"run": _APPS, "tool": _TEST}.get(job["verb"], ())
    with Stem([*_COUNTRY, *more]) as stem:
        return _do(job, directory, stem)


def _do(job: Mapping[str, Any], directory: RunDirectory, stem: Stem) -> int:
    if job["verb"] == "run":
        from testbed.run.player import play

        return play(job, directory, stem)
    if job["verb"] == "tool":
        from testbed.run import trial

        return trial.play(job, directory, stem)
    if job["verb"] == "hold":
        from testbed.run import held

        return held.hold(job, directory, stem)
    scenario = load_scenario(job["scenario"]) if job["scenario"] else default_scenario()
    spec = replace(country_spec(scenario, directory, job), capture=job["capture"])
    with Country(spec, directory, RunClock.start(), stem) as country:
        if job["verb"] == "shell":
            return _shell(country, job)
        from testbed.run.command import execute

        return execute(country, scenario, job)


def _interrupt(number: int, frame: object) -> None:
    """Stop cleanly, once: what follows must not be disturbed."""
    for each in _INTERRUPTING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _shell(country: Country, job: Mapping[str, Any]) -> int:
    """Hand the terminal to the prompt."""
    if job["json"]:
        nodes = [item.name for item in country.spec.plan.nodes]
        print(json.dumps({"run": str(country.directory.path), "nodes": nodes}), flush=True)
    country.fabric.prompt()
    return 0


def run(path: Path) -> int:
    """Do the job described in a file, its errors told as the command line tells them; return the exit status."""
    try:
        return main(path)
    except KeyboardInterrupt:
        return 130
    except TestbedError as error:
        return _say(error, path)
    except Exception:
        traceback.print_exc()
        return 4


def _say(error: TestbedError, path: Path) -> int:
    """Print an error as the command line does; return its exit status."""
    job = json.loads(path.read_text(encoding="utf-8"))
    if job.get("json"):
        print(json.dumps(as_data(error)))
    else:
        print(error, file=sys.stderr)
    return error.exit_status


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
