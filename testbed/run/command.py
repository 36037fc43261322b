"""`testbed exec` from inside: one command in a host, its terminal ours, its status ours."""

from __future__ import annotations

import datetime
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from testbed.errors import InputError, Problem, UnfaithfulError
from testbed.run import faithful
from testbed.run.country import Country
from testbed.run.directory import read_lines
from testbed.scenario.spec import Scenario

_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_LOOK_S, _SECOND_INTERRUPT_S = 0.5, 0.4


def execute(country: Country, scenario: Scenario, job: Mapping[str, Any]) -> int:
    """Run the command of a job; return its status, 128 + n if a signal ended it."""
    node = job["node"]
    hosts = [item.name for item in country.spec.plan.nodes if item.kind not in ("switch", "link")]
    if node not in hosts:
        raise InputError([Problem(f"--node {node}", "no such node", f"choose one of {', '.join(sorted(hosts))}")])
    started, begun = datetime.datetime.now(datetime.UTC), country.clock.elapsed()
    command = country.fabric.popen(node, job["argv"], stdin=None, stdout=None, stderr=None, cwd=job["cwd"])
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: command.send_signal(received))
    signal.signal(signal.SIGINT, _Interrupts(command).count)
    status, died = _wait(country, command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = status if status >= 0 else 128 - status
    stats, died = ({}, died) if died else country.stats_or_deaths()
    about = {"started": started.isoformat(timespec="seconds"), "t": begun, "status": status}
    country.stop()
    judged = faithful.measure(country, stats)
    country.directory.write_json(country.directory.fidelity, judged)
    if job["json"]:
        events = [
            event for box in sorted(country.spec.policies) for event in read_lines(country.directory.box_events(box))
        ]
        print(json.dumps({"status": status, "decisions": events, "died": died, "fidelity": judged}), file=sys.stderr)
    if died:
        raise UnfaithfulError("\n".join(died))
    if not judged["faithful"]:
        print(f"testbed: the link was not faithful: {'; '.join(judged['reasons'])}", file=sys.stderr)
    if job["capture"]:
        from testbed.run.kept import keep  # it knows reports, whose libraries take a moment to load

        keep(country, scenario, job, about, stats, judged)
    return status


def _wait(country: Country, command: subprocess.Popen[bytes]) -> tuple[int, list[str]]:
    """Wait for a command; return its status and what of the country died. Without its country it is ended."""
    while True:
        try:
            return command.wait(timeout=_LOOK_S), country.check_alive()
        except subprocess.TimeoutExpired:
            if died := country.check_alive():
                command.kill()
                return command.wait(), died


class _Interrupts:
    """Who hears Ctrl-C: a terminal gives it to the command too, a CI's cancel button to this program only.

    From a terminal it comes here twice, once passed on by the program outside; once means that the command has not
    heard it.
    """

    def __init__(self, command: subprocess.Popen[bytes]) -> None:
        self._command = command
        self._heard: list[int] = []

    def count(self, number: int, frame: object) -> None:
        """Count one SIGINT; a lone one is passed on. The next may come in the midst of this."""
        self._heard.append(number)
        timer = threading.Timer(_SECOND_INTERRUPT_S, self._settle)
        timer.daemon = True
        timer.start()

    def _settle(self) -> None:
        times = 0
        while self._heard:
            self._heard.pop()
            times += 1
        if times == 1:
            self._command.send_signal(signal.SIGINT)
