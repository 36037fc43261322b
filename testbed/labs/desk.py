"""Setting a lab up and clearing it away: the students' folders, and a country that stays up in the background."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import yaml

from testbed import proc
from testbed.errors import InputError, MachineError, Problem
from testbed.labs.lab import ANSWERS, Lab
from testbed.run.directory import RunDirectory
from testbed.scenario.load import load_scenario

MOST_STUDENTS = 100
_LESSON_S = 4 * 3600
_READY_S, _END_S = 90.0, 60.0


def folders(folder: Path, students: int) -> list[Path]:
    """Return each student's folder: the lab's own for one, else one below it for each host."""
    return [folder] if students == 1 else [folder / f"client{number}" for number in range(1, students + 1)]


def hand_out(lab: Lab, folder: Path, students: int) -> list[Path]:
    """Copy the lab's forms to where each student works; what a student has filled in stays."""
    found = folders(folder, students)
    for number, place in enumerate(found, 1):
        place.mkdir(parents=True, exist_ok=True)
        for form in lab.forms:
            target = place / form.name
            if target.exists():
                continue
            shutil.copyfile(form, target)
            if form.name == ANSWERS:
                target.write_text(target.read_text(encoding="utf-8").replace("host: client1", f"host: client{number}"))
    return found


def write_scenario(lab: Lab, folder: Path, students: int) -> Path:
    """Write the country for so many students: the lab's, each host kept apart from the others."""
    topology = load_scenario(lab.scenario).topology.model_copy(update={"clients": max(students, 1), "isolated": True})
    document = {
        "scenario": f"lab-{lab.number}", "title": lab.title, "extends": str(lab.scenario.resolve()),
        "topology": topology.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }  # fmt: skip
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    load_scenario(path)
    return path


def start(folder: Path, scenario: Path) -> RunDirectory:
    """Bring the country up in the background and wait until it answers; it ends by itself after a long lesson."""
    run = folder / "run"
    if is_up(folder):
        raise InputError([Problem(str(folder), "this lab is up already", "use it, or end it with `testbed lab stop`")])
    if run.exists():
        put_away(run)
    waiting = ["sh", "-c", f": > ready; exec sleep {_LESSON_S}"]
    command = proc.module(
        "testbed.cli.main", "exec", "--scenario", str(scenario.resolve()), "--keep", str(run.resolve()), "--", *waiting
    )
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    with (folder / "country.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _country(folder).write_text(json.dumps({"pid": process.pid, "born": _born(process.pid)}), encoding="utf-8")
    deadline = time.monotonic() + _READY_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.terminate()
            process.wait()
            _country(folder).unlink(missing_ok=True)
            said = (folder / "country.log").read_text(errors="replace").strip()
            raise MachineError(f"the country did not come up: {said or 'no word'}", "see `testbed doctor`")
        time.sleep(0.05)
    ready.unlink()
    return RunDirectory(run.resolve())


def stop(folder: Path) -> bool:
    """End a lab's country and wait until its captures are written; False if none was up."""
    pid = is_up(folder)
    if not pid:
        return False
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + _END_S
    while is_up(folder):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # the sandbox and all in it go with it
            break
        time.sleep(0.05)
    _country(folder).unlink(missing_ok=True)
    return True


def is_up(folder: Path) -> int:
    """Return the process of a folder's country, 0 if it has ended (its number may be somebody else's by now)."""
    try:
        about = json.loads(_country(folder).read_text(encoding="utf-8"))
        pid = int(about["pid"])
    except (OSError, ValueError, KeyError):
        return 0
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it is a child of ours, it would stay a zombie
    born = _born(pid)
    return pid if born and born == about.get("born") else 0


def put_away(run: Path) -> None:
    """Keep an earlier run of a lab beside the new one."""
    number = 1
    while (target := run.with_name(f"{run.name}.{number}")).exists():
        number += 1
    run.rename(target)


def _country(folder: Path) -> Path:
    return folder / "country.json"


def _born(pid: int) -> str:
    """Return when a process was started (clock ticks since boot), empty if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
