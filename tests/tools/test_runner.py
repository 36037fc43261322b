"""The runner with cheap fake tools: whatever a program does wrong ends in a clear message, and nothing is left behind.

The "nodes" are this machine itself; nothing here listens on more than loopback.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from testbed import proc
from testbed.errors import MachineError
from testbed.tools import logs
from testbed.tools.recipe import Recipe
from testbed.tools.runner import Tool, ToolError, missing

PYTHON = sys.executable
LISTEN = "import socket,time;s=socket.create_server(('127.0.0.1',int({port})));print('up',flush=True);time.sleep(60)"


class HostNet:
    """Nodes that are all this machine."""

    def popen(self, node: str, argv: Sequence[str], *, log_path: Path, **popen: Any) -> subprocess.Popen[bytes]:
        return proc.spawn(argv, log_path=log_path, **popen)

    def run(self, node: str, argv: Sequence[str], *, check: bool = True, timeout_s: float = 10.0) -> proc.Completed:
        return proc.run(argv, check=check, timeout_s=timeout_s)

    def pid(self, node: str) -> int:
        return os.getpid()


class NoIssuer:
    """An authority that is not asked."""

    bundle = Path("/nowhere/ca.pem")

    def issue(self, names: Sequence[str]) -> tuple[Path, Path]:
        return Path("/nowhere/cert.pem"), Path("/nowhere/key.pem")


class Fixture:
    """Makes tools and ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tools = folder, list[Tool]()
        (folder / "logs").mkdir()

    def tool(self, **recipe: Any) -> Tool:
        spec = Recipe.model_validate({"recipe": "fake", "title": "Fake", "use": {}, **recipe})
        tool = Tool(spec, "fake", self.folder / "work" / "tool-fake", self.folder / "logs", HostNet(), "s", "c")
        self.tools.append(tool)
        tool.prepare(NoIssuer(), 1, ("127.0.0.1", "127.0.0.1"))
        return tool

    def server(self, code: str, **ready: Any) -> Tool:
        return self.tool(server=[{"name": "srv", "argv": [PYTHON, "-c", code], "ready": {"within": "5 s", **ready}}])

    def alive(self) -> list[str]:
        """Return the command lines of processes that work in the tool's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.folder in (entry / "cwd").readlink().parents:
                    found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return [line for line in found if line]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    for tool in fixture.tools:
        tool.stop()
    assert fixture.alive() == []


def soon(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Wait until something holds: a busy machine takes its time to start and end programs."""
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_server_that_listens_is_ready_and_is_ended(fake: Fixture) -> None:
    port = free_port()
    tool = fake.server(LISTEN.format(port=port), listens=f"tcp/{port}", says="^up$")
    tool.start_server()
    assert tool.died() == []
    assert len(fake.alive()) == 1


def test_a_server_that_crashes_shows_its_last_words(fake: Fixture) -> None:
    tool = fake.server("import sys;print('reading config');sys.exit('bad key in line 3')", says="never")
    with pytest.raises(ToolError, match=r"(?s)fake: srv ended with status 1: .*bad key in line 3"):
        tool.start_server()


def test_a_server_that_a_signal_ends_says_which(fake: Fixture) -> None:
    tool = fake.server("import os,signal;os.kill(os.getpid(),signal.SIGSEGV)", says="never")
    with pytest.raises(ToolError, match="srv was ended by SIGSEGV: its log is empty"):
        tool.start_server()


def test_a_server_that_hangs_is_not_waited_for_for_ever(fake: Fixture) -> None:
    tool = fake.server("import time;print('thinking',flush=True);time.sleep(60)", says="ready", within="0.6 s")
    begun = time.monotonic()
    with pytest.raises(ToolError, match=r"srv is not ready after 0\.6 s: its log has no line like `ready`; thinking"):
        tool.start_server()
    assert time.monotonic() - begun < 5


def test_a_port_in_use_is_named(fake: Fixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        tool = fake.server(LISTEN.format(port=port), listens=f"tcp/{port}")
        with pytest.raises(ToolError, match=f"srv can't start: tcp/{port} of s is in use already"):
            tool.start_server()


def test_a_missing_program_is_named_with_the_way_to_get_it(fake: Fixture) -> None:
    needs = {"programs": {"no-such-tool": "go: example.org/no-such-tool@v1.0.0"}}
    tool = fake.tool(needs=needs, server=[{"name": "srv", "argv": ["no-such-tool"]}])
    assert missing(tool.recipe) == ["the program `no-such-tool` is not installed (go: example.org/no-such-tool@v1.0.0)"]
    with pytest.raises(MachineError, match="the program `no-such-tool` is not installed"):
        tool.start_server()


def test_setup_that_fails_says_why(fake: Fixture) -> None:
    with pytest.raises(ToolError, match="setting up, `sh` ended with status 3: no entropy"):
        fake.tool(setup=[["sh", "-c", "echo no entropy >&2; exit 3"]])


def test_a_program_that_ignores_sigterm_and_its_child_are_ended_by_force(fake: Fixture) -> None:
    code = (
        "import signal,subprocess,sys,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);"
        "subprocess.Popen([sys.executable,'-c','import signal,time;"
        "signal.signal(signal.SIGTERM,signal.SIG_IGN);time.sleep(60)']);print('up',flush=True);time.sleep(60)"
    )
    tool = fake.server(code, says="^up$")
    tool.start_server()
    assert len(fake.alive()) == 2
    begun = time.monotonic()
    tool.stop()
    assert time.monotonic() - begun < 4
    assert fake.alive() == []


DAEMON = (
    "import os,signal,socket,sys,time\n"
    "if os.fork(): time.sleep(0.2); sys.exit()\n"
    "os.setsid()\n"
    "if os.fork(): sys.exit()\n"
    "{asked}\n"
    "s=socket.create_server(('127.0.0.1',{port})); time.sleep(60)\n"
)


@pytest.mark.parametrize("asked", ["pass", "signal.signal(signal.SIGTERM,signal.SIG_IGN)"])
def test_a_daemon_that_left_its_group_is_ended_and_can_be_started_again(fake: Fixture, asked: str) -> None:
    """Else its port is in use under the next policy, and the tool would be called blocked there."""
    port = free_port()
    argv = [PYTHON, "-c", DAEMON.format(port=port, asked=asked)]
    tool = fake.tool(client=[{"name": "cli", "argv": argv, "ready": {"listens": f"tcp/{port}"}}])
    for _ in range(2):
        tool.start_client()
        time.sleep(0.3)
        assert tool.died() == [], "its starter has ended, and it serves"
        tool.stop_client()
        assert fake.alive() == []


def test_a_daemon_of_a_step_done_once_is_ended(fake: Fixture) -> None:
    argv = ["sh", "-c", "setsid sleep 60 >/dev/null 2>&1 &"]
    tool = fake.tool(client=[{"name": "cli", "argv": argv, "once": True}])
    tool.start_client()
    assert soon(lambda: len(fake.alive()) == 1)
    tool.stop_client()
    assert fake.alive() == []


def test_a_client_that_quits_well_and_listens_no_more_is_found_dead(fake: Fixture) -> None:
    port = free_port()
    code = f"import socket,time;s=socket.create_server(('127.0.0.1',{port}));time.sleep(0.3);print('bye, done')"
    argv = [PYTHON, "-c", code]
    tool = fake.tool(client=[{"name": "cli", "argv": argv, "ready": {"listens": f"tcp/{port}"}}])
    tool.start_client()
    assert soon(lambda: tool.died() == ["fake: cli ended with status 0: bye, done"])


def test_a_flood_fills_no_disk_and_its_end_is_kept(fake: Fixture) -> None:
    code = "import sys;[sys.stdout.write('x'*99+'\\n') for _ in range(60000)];print('the end',flush=True);sys.exit(2)"
    tool = fake.server(code, says="never", within="30 s")
    with pytest.raises(ToolError, match=r"(?s)ended with status 2: .*the end"):
        tool.start_server()
    log = tool.log(tool.rendered.server[0])
    assert log.stat().st_size < logs.HEAD_BYTES + 2 * logs.TAIL_BYTES + 1000
    assert "bytes left out" in log.read_text()
    assert log.read_text().endswith("the end\n")


def test_a_client_that_crashes_later_is_found_dead(fake: Fixture) -> None:
    argv = [PYTHON, "-c", "import sys,time;print('up',flush=True);time.sleep(0.2);sys.exit('lost my keys')"]
    tool = fake.tool(client=[{"name": "cli", "argv": argv, "ready": {"says": "up"}}])
    tool.start_client()
    time.sleep(0.6)
    (obituary,) = tool.died()
    assert obituary.startswith("fake: cli ended with status 1: up\nlost my keys")


def test_one_that_does_its_work_and_ends_is_waited_for(fake: Fixture) -> None:
    done = {"name": "once", "argv": ["sh", "-c", "sleep 0.2; touch done"], "once": True}
    look = {"name": "look", "argv": ["sh", "-c", "test -e done"], "once": True}
    tool = fake.tool(client=[done, look])
    tool.start_client()
    assert tool.died() == []
    bad = fake.tool(client=[{"name": "bad", "argv": ["sh", "-c", "echo no route; exit 2"], "once": True}])
    with pytest.raises(ToolError, match="bad ended with status 2: no route"):
        bad.start_client()


def test_a_step_that_works_on_a_device_finds_it_there_also_where_nobody_waits(fake: Fixture) -> None:
    device = {
        "name": "device", "argv": ["sh", "-c", "sleep 0.2; touch device; exec sleep 60"],
        "ready": {"succeeds": ["test", "-e", str(fake.folder.joinpath("work", "tool-fake", "device"))]},
    }  # fmt: skip
    up = {"name": "up", "argv": ["test", "-e", "device"], "once": True}
    slow = {"name": "slow", "argv": ["sleep", "60"], "ready": {"says": "never", "within": "20 s"}}
    tool = fake.tool(client=[device, up, slow])
    tool.start_client(wait=False)
    assert tool.died() == []


def test_a_second_start_is_not_taken_for_ready_by_the_first_ones_log(fake: Fixture) -> None:
    code = (
        "import os,time;b=os.path.exists('again');open('again','w').close();b or print('up',flush=True);time.sleep(60)"
    )
    launch = {"name": "cli", "argv": [PYTHON, "-c", code], "ready": {"says": "^up$", "within": "0.6 s"}}
    tool = fake.tool(client=[launch])
    tool.start_client()
    tool.stop_client()
    with pytest.raises(ToolError, match="cli is not ready after"):
        tool.start_client()


def test_a_resolver_is_pointed_to_and_given_back(fake: Fixture) -> None:
    tool = fake.tool(use={"dns": "127.0.0.1"})
    path = fake.folder / "work" / "hosts" / "c" / "resolv.conf"
    path.parent.mkdir(parents=True)
    path.write_text("nameserver 100.64.0.53\n")
    tool.start_client()
    assert path.read_text().startswith("nameserver 127.0.0.1\n")
    tool.stop()
    assert path.read_text() == "nameserver 100.64.0.53\n"


def test_what_is_waited_for_in_vain_is_said(fake: Fixture) -> None:
    port, other = free_port(), free_port()
    tool = fake.server(LISTEN.format(port=port), listens=f"tcp/{other}", within="0.6 s")
    with pytest.raises(ToolError, match=rf"nothing listens on tcp/{other} of s, only on .*tcp/{port}.*; up"):
        tool.start_server()


def test_nothing_stays_of_a_server_whose_second_program_fails(fake: Fixture) -> None:
    first = {"name": "one", "argv": [PYTHON, "-c", "import time;time.sleep(60)"]}
    second = {"name": "two", "argv": [PYTHON, "-c", "raise SystemExit(3)"], "ready": {"says": "never"}}
    tool = fake.tool(server=[first, second])
    with pytest.raises(ToolError, match="two ended with status 3"):
        tool.start_server()
    assert fake.alive() == []


def test_a_program_beside_the_caller_is_found_though_the_tool_runs_elsewhere(
    fake: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "build").mkdir()
    program = tmp_path / "build" / "mytool"
    program.write_text("#!/bin/sh\necho built; exec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    tool = fake.tool(server=[{"name": "srv", "argv": ["./build/mytool"], "ready": {"says": "built", "within": "5 s"}}])
    tool.start_server()
    assert tool.said() == {"srv": "built"}


def test_last_words_steer_no_terminal() -> None:
    said = "\x1b[31mred\x1b[0m\x00 \x1b]0;title\x07\x9b2Jend\nnext"
    assert logs.last_lines(said) == "red 2Jend\nnext"
