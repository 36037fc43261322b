"""Live tests run the command as a user would: unmodified programs, a real kernel, no mocks.

What only needs a country without a censor shares one for the whole session (`country`), entered as by a second
terminal: bringing one up takes seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

Testbed = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-P", "-m", "testbed.cli.main"]
_INVALID = 3
#: The longest files that two lanes may do, in the order in which they are begun, so that the lanes end together.
_FIRST = ("test_docs_played", "test_policies", "test_tools_table", "test_tool", "test_docs_commands", "test_labs")
_OPEN = "scenario: shared\ntitle: No censor, no link, both families\nlink: none\ntopology: {ipv6: true}\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; xdist hands files out in the order of the tests."""
    places = {name: place for place, name in enumerate(_FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture
def testbed(tmp_path: Path) -> Testbed:
    """Run `testbed ARGUMENTS` and return what it did."""

    def run(*arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout_s, cwd=tmp_path, check=False
        )

    return run


@dataclass(frozen=True, slots=True)
class SharedCountry:
    """A country that is up: `run` does something in a node of it."""

    folder: Path

    def run(self, *argv: str, node: str = "client1", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in a node, as `testbed enter` does for people."""
        command = [*COMMAND, "enter", str(self.folder), node, "--", *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def shell(self, script: str, node: str = "client1") -> list[str]:
        """Run a shell script in a node and return the lines it wrote."""
        done = self.run("sh", "-c", script, node=node)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run in which every app had its turn: `smoke.yaml`, passed.

    A run that a busy machine made invalid proves nothing, neither way: it is done again, twice at most.
    """
    folder = tmp_path_factory.mktemp("smoke")
    for turn in ("first", "second", "third"):
        command = [*COMMAND, "run", str(Path(__file__).parent / "smoke.yaml"), "--into", turn]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)
        if done.returncode != _INVALID:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / turn


@pytest.fixture(scope="session")
def country(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedCountry]:
    """A country without a censor, kept up until the last test that needs it."""
    folder = tmp_path_factory.mktemp("country")
    scenario = folder / "open.yaml"
    scenario.write_text(_OPEN)
    run = folder / "run"
    waiting = ["sh", "-c", "echo up; exec sleep 900"]
    process = subprocess.Popen(
        [*COMMAND, "exec", "--scenario", str(scenario), "--keep", str(run), "--", *waiting],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield SharedCountry(run)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    process.stdout.close()
