"""The scenarios that the documentation tells people to play, in full, as it tells them: minutes of play each.

All at once, since they wait for their own clocks: three minutes of play in two. What a busy machine made invalid proves
nothing, neither way: it is played once more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs.test_docs import PAGES
from tests.live.test_docs_commands import lines

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]  # twice two minutes, and coming up
#: the command as a page has it → how many expectations the scenario states
PLAYED = {"testbed run imo-goes-dark": 20, "testbed run shutdown-2022-04": 3}
_INVALID = 3
Played = dict[str, tuple[subprocess.CompletedProcess[str], Path]]


def _play(line: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Type a line into a shell in an empty folder; return how it ended and the folder."""
    folder.mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    return done, folder


def _play_validly(line: str, top: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Play a line; once more, if that proved nothing."""
    first = _play(line, top / "first" / line.split()[-1])
    return first if first[0].returncode != _INVALID else _play(line, top / "second" / line.split()[-1])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """Play every line, side by side."""
    top = tmp_path_factory.mktemp("played")
    with ThreadPoolExecutor(len(PLAYED)) as pool:
        found = pool.map(lambda line: _play_validly(line, top), PLAYED)
        yield dict(zip(PLAYED, found, strict=True))


@pytest.mark.parametrize("line", PLAYED)
def test_a_page_has_the_line_and_the_run_passes(played: Played, line: str) -> None:
    assert line in {found for page in PAGES for found in lines(page)}
    done, folder = played[line]
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (folder / "runs").iterdir()
    assert run.name in done.stderr.replace("\n", ""), "its first line names the run directory, however long that is"
    result = json.loads((run / "result.json").read_text())
    assert (result["status"], result["fidelity"]["faithful"]) == ("passed", True)
    assert [item["holds"] for item in result["expectations"]] == [True] * PLAYED[line]
    assert result["title"] in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "pcap" / "gateway-inside.pcapng").stat().st_size > 0
