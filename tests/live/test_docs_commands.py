"""The commands of the documentation, typed into a shell page by page, in a folder with what the page speaks of.

The labs' pages have `test_labs`. What is left out here is named with its reason, and must still be in a page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs.test_docs import PAGES, ROOT, blocks

pytestmark = pytest.mark.live
LEFT_OUT = {
    "make ": "setting up is what CI does before this",
    "testbed doctor": "its status is this machine's: test_command_line",
    "testbed dashboard": "serves until it is ended: test_dashboard",
    "testbed run imo-goes-dark": "two minutes of play: test_docs_played",
    "testbed run shutdown-2022-04": "a minute of play: test_docs_played",
    "testbed tool": "half a minute a policy: test_tool",
    "testbed matrix ./mytool.yaml": "a minute of play, or a cluster: test_matrix",
    "testbed matrix getting-through": "the same",
    "testbed matrix mytool.yaml --only": "the same",
    "testbed matrix mytool.yaml --shard": "the same",
    "testbed matrix mytool.yaml --no-run": "judges what these left",
    "testbed lab": "test_labs",
    "vagrant ": "make vm-test",
    "docker ": "needs an engine",
}
_OURS = [page for page in PAGES if page.parent.name != "labs" and "labs" not in page.parts]
_NAMED = re.compile(r"^(?:scenario|policy|link|recipe|matrix): (\S+)", re.MULTILINE)
_YOUR_CLIENT = "#!/bin/sh\nexec curl -sS https://weather.example/\n"


def lines(page: Path) -> list[str]:
    """Return the command lines of a page that are to be run."""
    found = []
    for language, text in blocks(page, "sh", "console", ""):
        shown = language == "console"
        for line in text.replace("\\\n", " ").splitlines():
            prompted = line.startswith("$ ")
            bare = line.removeprefix("$ ").removeprefix(".venv/bin/").strip()
            if prompted or (not shown and re.match(r"(testbed|cp|make|vagrant|docker) ", bare)):
                found.append(bare)
    return found


def wanted(line: str) -> bool:
    """Say whether a line is to be run here."""
    return not any(line.startswith(left_out) for left_out in LEFT_OUT)


def place(page: Path, folder: Path, run: Path) -> None:
    """Put down what the page's commands speak of: its own files, a run under each name, captures, measurements."""
    for _, text in blocks(page, "yaml"):
        if named := _NAMED.match(text):
            (folder / f"{named[1]}.yaml").write_text(text)
    (folder / "runs").mkdir()
    for name in ("runs/NAME", "runs/A", "runs/B", "runs/C", "dark", "other"):
        shutil.copytree(run, folder / name)
    shutil.copy(run / "pcap" / "gateway-inside.pcapng", folder / "evening.pcapng")
    shutil.copy(ROOT / "tests" / "data" / "ooni" / "ir-2023.jsonl.gz", folder / "2023-01.jsonl.gz")
    (folder / "testbed").symlink_to(ROOT / "testbed")
    (folder / "my-names.txt").write_text("t.co\nreddit.com\n")
    (folder / "your-client").write_text(_YOUR_CLIENT)
    (folder / "your-client").chmod(0o755)


def typed(page: Path, folder: Path, run: Path) -> list[str]:
    """Run a page's commands in order; return what went wrong."""
    folder.mkdir()
    place(page, folder, run)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    wrong = []
    for line in filter(wanted, lines(page)):
        asked = re.sub(r"--policy P\b", "--policy russia", line).replace("draft/ooni-tm", "draft/ooni-ir")
        done = subprocess.run(["sh", "-c", asked], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True,
                              text=True, timeout=240, check=False)  # fmt: skip
        ours = (2, 3, 4)  # the statuses by which the testbed says that it could not do it
        # behind a censor a command may well fail, and then the status is the command's
        if done.returncode in ours or (done.returncode and " exec " not in f" {line} "):
            wrong.append(f"{page.name}: {line}\n[{done.returncode}] {done.stdout[-500:]}{done.stderr[-1500:]}")
    return wrong


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory, smoke: Path) -> Iterator[dict[str, list[str]]]:
    """Per page, what went wrong; three pages at a time, since most of it is waiting."""
    top = tmp_path_factory.mktemp("pages")
    pages = [page for page in _OURS if any(map(wanted, lines(page)))]
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda page: typed(page, top / page.stem, smoke), pages)
        yield dict(zip((page.stem for page in pages), found, strict=True))


@pytest.mark.parametrize("page", [page for page in _OURS if any(map(wanted, lines(page)))], ids=lambda page: page.stem)
def test_every_command_of_a_page_works(wrong: dict[str, list[str]], page: Path) -> None:
    assert wrong[page.stem] == []


def test_what_is_left_out_is_still_in_a_page() -> None:
    every = [line for page in PAGES for line in lines(page)]
    assert [left_out for left_out in LEFT_OUT if not any(line.startswith(left_out) for line in every)] == []
