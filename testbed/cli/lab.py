"""`testbed lab`: the classroom. Lists the labs, sets one up, ends it, marks what students handed in."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

import testbed
from testbed.cli.screen import screen
from testbed.errors import InputError, Problem
from testbed.labs import desk
from testbed.labs.lab import ANSWERS, LANGUAGES, Lab, find_lab, labs
from testbed.labs.marking import mark
from testbed.labs.work import Mark, Work
from testbed.run.directory import RunDirectory

_number = click.argument("number", type=int, metavar="N")
_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
_folder = click.option(
    "--folder", type=click.Path(path_type=Path), metavar="DIR", help="Where the lab's work is (default: lab-N here)."
)


@click.group("lab", short_help="The classroom: set up a lab, mark what students did.")
def command() -> None:
    """Work through a lab alone, or give it to a class: each student gets a host behind the censor."""


@command.command("list")
@_json
def list_command(as_json: bool) -> int:
    """List the labs and their pages."""
    found = labs()
    if as_json:
        entries = [
            {"number": lab.number, "name": lab.name, "title": lab.title, "teacher": str(lab.teacher),
             "pages": {language: str(lab.page(language)) for language in LANGUAGES}}
            for lab in found
        ]  # fmt: skip
        print(json.dumps(entries, ensure_ascii=False))
        return 0
    for lab in found:
        print(f"{lab.number}  {lab.title}")
    print("\n`testbed lab start N` sets one up and says where its page is.")
    return 0


@command.command("start")
@_number
@click.option("--students", type=click.IntRange(1, desk.MOST_STUDENTS), default=1, show_default=True,
              help="How many hosts, each isolated from the others.")  # fmt: skip
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Of the page named.")
@_folder
@_json
def start_command(number: int, students: int, language: str, folder: Path | None, as_json: bool) -> int:
    """Set lab N up: hand out its forms and bring its country up in the background."""
    lab = find_lab(number)
    folder = folder or Path(f"lab-{number}")
    places = desk.hand_out(lab, folder, students)
    scenario = desk.write_scenario(lab, folder, students)
    up = not lab.is_played
    if up:
        desk.start(folder, scenario)
    if as_json:
        hosts = {f"client{index}": str(place) for index, place in enumerate(places, 1)}
        about = {"lab": number, "page": str(lab.page(language)), "up": up, "run": str(folder / "run"), "hosts": hosts}
        print(json.dumps(about, ensure_ascii=False))
        return 0
    print(f"Lab {number}: {lab.title}\n  page      {lab.page(language)}")
    for index, place in enumerate(places, 1):
        door = f"testbed enter {folder}/run client{index}" if up else f"testbed run {scenario} --into {folder}/run"
        print(f"  {f'client{index}' if up else 'play it':<9} {door}   answers in {place / ANSWERS}")
    if up:
        print(f"  captures  testbed lab stop {number}   ends the country and writes {folder}/run/pcap/")
    print(f"  marks     testbed lab check {number}")
    return 0


@command.command("stop")
@_number
@_folder
@_json
def stop_command(number: int, folder: Path | None, as_json: bool) -> int:
    """End the country of lab N; its captures are then in the run directory."""
    folder = folder or Path(f"lab-{find_lab(number).number}")
    ended = desk.stop(folder)
    if as_json:
        print(json.dumps({"lab": number, "ended": ended, "run": str(folder / "run")}))
    else:
        print(f"{'ended' if ended else 'none was up'}: {folder / 'run'}")
    return 0


@command.command("box")
@_json
def box_command(as_json: bool) -> int:
    """Say where the teaching box is: a whole censor in one short file, to copy and to change (lab 5)."""
    path = Path(testbed.__file__).parent / "middlebox" / "scapy_box.py"
    print(json.dumps({"box": str(path)}) if as_json else path)
    return 0


@command.command("check")
@_number
@_folder
@_json
def check_command(number: int, folder: Path | None, as_json: bool) -> int:
    """Mark the work in lab N's folder, every student's; status 0 if all of it is right, 1 if not."""
    lab = find_lab(number)
    folder = folder or Path(f"lab-{number}")
    run = RunDirectory((folder / "run").resolve())
    marked = {place: mark(Work(lab, place, run, place.name if place != folder else None)) for place in _works(folder)}
    right = all(each.right for marks in marked.values() for each in marks)
    if as_json:
        print(json.dumps({
            "lab": number, "right": right,
            "work": {str(place): [{"task": m.task, "right": m.right, "said": m.said} for m in marks]
                     for place, marks in marked.items()},
        }, ensure_ascii=False))  # fmt: skip
    else:
        for place, marks in marked.items():
            _show(lab, place, marks)
    return 0 if right else 1


def _works(folder: Path) -> list[Path]:
    found = {path.parent for path in (*folder.glob(ANSWERS), *folder.glob(f"*/{ANSWERS}"))}
    if not found:
        mend = f"set the lab up with `testbed lab start`, and fill in its {ANSWERS}"
        raise InputError([Problem(str(folder), f"holds no {ANSWERS}", mend)])
    return sorted(found, key=lambda path: (len(path.name), path))


def _show(lab: Lab, place: Path, marks: list[Mark]) -> None:
    done = sum(each.right for each in marks)
    table = Table(title=f"lab {lab.number}, {place}: {done} of {len(marks)}", title_justify="left", box=None)
    for title in ("", "task", "what was seen"):
        table.add_column(title)
    for each in marks:
        table.add_row(Text("✓", "green") if each.right else Text("✗", "red"), each.task, each.said)
    screen().print(table)
