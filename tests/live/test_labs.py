"""Every command of the labs' pages, run as a class runs them: one country, a host for each lab; then the marks.

A teacher's solution must be marked right, an empty form and altered numbers wrong.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from testbed.labs import desk
from testbed.labs.lab import ANSWERS, Lab, find_lab
from testbed.labs.marking import mark
from testbed.labs.work import Mark, Work
from testbed.run.directory import RunDirectory
from tests.labs.pages import Block, commands, solution
from tests.live.conftest import COMMAND

pytestmark = pytest.mark.live
TOGETHER = (2, 3, 4, 6, 8)
IN_CLASS = (1, *TOGETHER)
_ASKED = re.compile(r"\$\{(.+)\}")
_BIN = str(Path(sys.executable).parent)


def run(argv: list[str], folder: Path, *, ok: bool = True, timeout_s: float = 100) -> str:
    """Run a program in a folder; return what it wrote."""
    environment = {**os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0 or not ok, f"{argv[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one lab is worked on in the class: a host of the one country, a folder of its own."""

    lab: Lab
    desk: Path
    client: int

    @property
    def folder(self) -> Path:
        """The folder that the pages call `lab-N`."""
        return self.desk / f"lab-{self.lab.number}"

    @property
    def address(self) -> str:
        """The host's address."""
        return f"100.64.1.{self.client}"

    def type_in(self, block: Block) -> None:
        """Type a block in its host; the pages speak to client1, and say what to change in a class."""
        script = block.text.replace("100.64.1.1:", f"{self.address}:")
        node = f"client{self.client}" if block.host == "client1" else block.host
        inside = f"cd {self.folder}\nset -e\n{script}"
        run([*COMMAND, "enter", str(self.desk / "class" / "run"), node, "--", "sh", "-c", inside], self.desk)

    def own(self, script: str) -> str:
        """Let a command of the machine see this host's packets only, as a student of a class looks at them."""
        return script.replace("-Y '", f"-Y 'ip.addr == {self.address} && ")

    def solve(self) -> None:
        """Fill in the teacher's solution, the answers that are looked up in a capture among them."""

        def asked(found: re.Match[str]) -> str:
            return run(["sh", "-c", self.own(found[1])], self.folder / "run" / "pcap").strip()

        for name, text in solution(self.lab.teacher).items():
            found = _ASKED.sub(asked, text)
            (self.folder / name).write_text(found.replace("host: client1", f"host: client{self.client}"))


@pytest.fixture(scope="module")
def seats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Seat]]:
    """A class that has done what the pages say and ended its country; each seat's `run` is the class's."""
    top = tmp_path_factory.mktemp("labs")
    found = {number: Seat(find_lab(number), top, client) for client, number in enumerate(IN_CLASS, 1)}
    started = json.loads(run([*COMMAND, "lab", "start", "2", "--students", str(len(IN_CLASS)), "--folder", "class",
                              "--json"], top))  # fmt: skip
    assert started["up"]
    try:
        for seat in found.values():
            (answers,) = desk.hand_out(seat.lab, seat.folder, 1)
            assert (answers / ANSWERS).exists()
            for name, text in solution(seat.lab.teacher).items():
                if "${" not in text:
                    (seat.folder / name).write_text(text)
        work(found[1])
        with ThreadPoolExecutor(len(TOGETHER)) as pool:
            list(pool.map(lambda number: work(found[number]), TOGETHER))
        neighbour = run([*COMMAND, "enter", str(top / "class" / "run"), "client1", "--", "ping", "-c", "1", "-W", "1",
                         "100.64.1.2"], top, ok=False)  # fmt: skip
        assert "100% packet loss" in neighbour
    finally:
        assert json.loads(run([*COMMAND, "lab", "stop", "2", "--folder", "class", "--json"], top))["ended"]
    for seat in found.values():
        (seat.folder / "run").symlink_to(top / "class" / "run")
    yield found


def work(seat: Seat) -> None:
    """Type what the student's page says, and then the teacher's, in the host."""
    for page in (seat.lab.page("en"), seat.lab.teacher):
        for block in commands(page):
            if block.host:
                seat.type_in(block)


@pytest.mark.parametrize("number", IN_CLASS)
def test_a_lab_can_be_done_as_its_page_says(seats: dict[int, Seat], number: int) -> None:
    seat = seats[number]
    empty = mark(Work(seat.lab, blank(seat), RunDirectory(seat.folder / "run")))
    assert not any(each.right for each in empty if not each.task.startswith("capture:"))  # what was seen counts alone
    seat.solve()
    checked = 0
    for block in commands(seat.lab.page("en")):
        for line in block.text.splitlines() if not block.host else ():
            if line in (f"testbed lab start {number}", f"testbed lab stop {number}"):
                continue  # the class has been through that
            if line == f"testbed lab check {number}":
                told = run(["sh", "-c", f"{line} --json"], seat.desk, ok=False)
                assert json.loads(told)["right"], told
                checked += 1
                continue
            out = run(["sh", "-c", seat.own(line)], seat.desk)
            assert out, line
    assert checked == 1
    assert not any(each.right for each in altered(seat))


def blank(seat: Seat) -> Path:
    """A folder with the lab's empty forms."""
    (place,) = desk.hand_out(seat.lab, seat.desk / f"blank-{seat.lab.number}", 1)
    text = (place / ANSWERS).read_text().replace("host: client1", f"host: client{seat.client}")
    (place / ANSWERS).write_text(text)
    return place


def altered(seat: Seat) -> list[Mark]:
    """Mark a solution whose numbers and words are all other ones, without the files beside it."""
    answers = yaml.safe_load((seat.folder / ANSWERS).read_text())
    for key, value in answers.items():
        if key != "host":
            answers[key] = value * 2 + 7 if isinstance(value, (int, float)) else "other.example"
    place = blank(seat)
    (place / ANSWERS).write_text(yaml.safe_dump(answers))
    marks = mark(Work(seat.lab, place, RunDirectory(seat.folder / "run")))
    return [each for each in marks if each.task.partition(":")[0].partition(",")[0] in answers]


@pytest.mark.alone  # its run has to be faithful
def test_lab_7_is_played_and_read(tmp_path: Path) -> None:
    seat = Seat(find_lab(7), tmp_path, 1)
    for block in commands(seat.lab.page("en")):
        for line in block.text.splitlines():
            if line == "testbed lab check 7":
                seat.solve()
                told = run(["sh", "-c", f"{line} --json"], tmp_path, ok=False)
                assert json.loads(told)["right"], told
            else:
                assert run(["sh", "-c", line], tmp_path), line
    assert not any(each.right for each in altered(seat))
    assert not any(each.right for each in mark(Work(seat.lab, blank(seat), RunDirectory(seat.folder / "run"))))


def test_lab_5_is_written_and_tried(tmp_path: Path) -> None:
    seat = Seat(find_lab(5), tmp_path, 1)
    for block in commands(seat.lab.page("en")):
        for line in block.text.splitlines():
            if line != "testbed lab check 5":
                run(["sh", "-c", line], tmp_path)
                continue
            seat.solve()
            unchanged = {each.task: each.right for each in mark(Work(seat.lab, seat.folder, RunDirectory(tmp_path)))}
            assert unchanged == {task: task.startswith(("my_box", "blocked", "who did", "and whose", "and those"))
                                 for task in unchanged}  # fmt: skip
            run([sys.executable, "solve.py", str(seat.folder / "my_box.py")], seat.folder)
            told = run(["sh", "-c", f"{line} --json"], tmp_path, ok=False)
            assert json.loads(told)["right"], told
