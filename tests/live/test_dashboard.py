"""A hand on a real run, by way of the page's server: the net itself changes, and the run says that it was touched."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.live
SCENARIO = Path(__file__).parent / "steered.yaml"
_DEADLINE_S = 30.0


class Teacher:
    """Talks to a page's server as the page does."""

    def __init__(self, address: str, runs: Path) -> None:
        self._base, _, self._token = address.partition("/#")
        self._runs = runs

    @property
    def run(self) -> Path:
        (found,) = (path for path in self._runs.iterdir() if path.is_dir())
        return found

    def do(self, path: str, **asked: Any) -> None:
        request = urllib.request.Request(
            f"{self._base}/api/{path}", json.dumps(asked).encode(), {"authorization": f"Bearer {self._token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer) == {"ok": True}

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.run / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, f"not within {_DEADLINE_S:g} s"
            time.sleep(0.05)

    def last(self) -> dict[str, Any]:
        return self.lines("apps/page.jsonl")[-1]


@pytest.fixture
def teacher(tmp_path: Path) -> Iterator[Teacher]:
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "dashboard", str(SCENARIO), "--port", "0"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found is not None
    yield Teacher(found[0], tmp_path / "runs")
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0
    process.stderr.close()


def test_what_a_teacher_does_is_done_to_the_net(teacher: Teacher) -> None:
    teacher.wait(lambda: teacher.lines("apps/page.jsonl"))
    assert teacher.last()["verdict"] == "ok"

    teacher.do("do/block", box="gateway", name="any.example", blocked=True)
    teacher.wait(lambda: teacher.last()["verdict"] == "blocked")
    decision = teacher.lines("work/gateway.events.jsonl")[-1]
    assert decision["rule"].startswith("typed-")
    assert "any.example" in json.dumps(decision["evidence"])

    teacher.do("do/block", box="gateway", name="any.example", blocked=False)
    teacher.wait(lambda: teacher.last()["verdict"] == "ok")

    teacher.do("do/rate", rate_bps=20_000_000)
    teacher.wait(lambda: teacher.lines("link.jsonl")[-1]["down"]["rate_bps"] == 20_000_000)

    teacher.do("do/cut", down=True)
    teacher.wait(lambda: teacher.last()["failure"] == "generic_timeout_error")
    teacher.do("do/cut", down=False)
    teacher.wait(lambda: teacher.last()["verdict"] == "ok")

    teacher.do("do/timeline", do="next")
    teacher.wait(lambda: {"phase": "dark", "policy": "tm-2022", "box": "gateway"} in
                 [line["step"] for line in teacher.lines("work/steps.jsonl")])  # fmt: skip
    teacher.do("stop")
    result = json.loads((teacher.run / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert "steered by hand 6 times" in " ".join(result["why"])
    assert [phase["name"] for phase in result["phases"]] == ["start", "dark"]
    assert result["phases"][1]["start_s"] < 150
