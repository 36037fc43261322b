"""The prompt of `testbed shell`: what is typed, what is said, what Tab offers; no namespaces needed."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.net.prompt import Prompt
from testbed.scenario.topology import TopologyShape, plan


class Typed:
    """A prompt whose commands are written down, and run on this machine."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.out = io.StringIO()
        self.prompt = Prompt(plan(TopologyShape(clients=2)), self._start, {"net": "Mininet's", "client1": 1}, self.out)

    def _start(self, node: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        self.asked.append((node, list(argv)))
        return subprocess.Popen(["true"])

    def type(self, *lines: str) -> str:
        for line in lines:
            assert not self.prompt.onecmd(line), line
        return self.out.getvalue()


def test_a_command_goes_to_its_node_and_names_become_addresses() -> None:
    typed = Typed()
    typed.type("client1 ping -c1 web", "client2 echo 'a  b' | wc -c", "gateway hostname # with a comment", "")
    assert typed.asked == [
        ("client1", ["sh", "-c", "ping -c1 198.18.0.80"]),
        ("client2", ["sh", "-c", "echo 'a  b' | wc -c"]),
        ("gateway", ["sh", "-c", "hostname # with a comment"]),
    ]
    assert typed.out.getvalue() == ""


@pytest.mark.parametrize("line", ["exit", "quit", "EOF"])
def test_it_is_left_by(line: str) -> None:
    assert Typed().prompt.onecmd(line)


def test_help_nodes_and_net_say_what_is_there() -> None:
    shown = Typed().type("help", "help nodes", "nodes", "net")
    assert shown.count("client1 ping -c1 web") == 2
    assert "client1       host    inside   100.64.1.1" in shown
    assert "access access-eth0 - client1 client1-eth0\n" in shown


def test_what_is_wrong_is_told_and_nothing_ends() -> None:
    shown = Typed().type("bogus", "client1", "py 1/0", "py nothing", "py", "xterm client1", "# a remark")
    for said in ("no node or command 'bogus'", "what shall client1 do?", "ZeroDivisionError", "NameError", "'xterm'"):
        assert said in shown
    assert "remark" not in shown
    assert Typed().type("py net", "py client1 + 1") == "Mininet's\n2\n"


def test_pingall_asks_every_host_for_every_other() -> None:
    typed = Typed()
    shown = typed.type("pingall")
    hosts = {node for node, _ in typed.asked}
    assert {"client1", "client2", "web"} <= hosts and "gateway" not in hosts
    assert len(typed.asked) == len(hosts) * (len(hosts) - 1)
    assert ("client1", ["sh", "-c", "ping -c1 -W2 198.18.0.80 >/dev/null 2>&1"]) in typed.asked
    assert shown.endswith(f"0 of {len(typed.asked)} lost\n")


def test_a_file_is_typed_line_by_line_until_it_leaves(tmp_path: Path) -> None:
    wishes, typed = tmp_path / "wishes.txt", Typed()
    wishes.write_text("client1 true\n# a remark\nexit\nclient2 true\n")
    assert typed.prompt.onecmd(f"source {wishes}")
    assert [node for node, _ in typed.asked] == ["client1"]
    assert "can't read no-such.txt" in typed.type("source no-such.txt")


def test_a_command_runs_beside_the_nodes(capfd: pytest.CaptureFixture[str]) -> None:
    typed = Typed()
    typed.type("sh echo beside")
    assert (capfd.readouterr().out, typed.asked) == ("beside\n", [])


def test_a_second_ctrl_c_comes_while_the_first_is_dealt_with(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = Typed()
    prompt, asked = typed.prompt, list[str]()

    def cmdloop() -> None:
        asked.append("asks")
        if len(asked) == 1:
            prompt.interrupted(signal.SIGINT, None)

    monkeypatch.setattr(prompt, "cmdloop", cmdloop)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(prompt, "_say", lambda text: prompt.interrupted(signal.SIGINT, None))
    prompt.run()
    assert asked == ["asks", "asks"]


def test_ctrl_c_is_a_command_s_while_one_runs() -> None:
    prompt = Typed().prompt
    prompt.precmd("client1 sleep 9")
    prompt.interrupted(signal.SIGINT, None)
    prompt.postcmd(False, "client1 sleep 9")
    with pytest.raises(KeyboardInterrupt):
        prompt.interrupted(signal.SIGINT, None)


def test_ctrl_c_ends_what_is_left_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tmp_path / "lines"
    lines.write_text("client1 true\nclient2 true\n")
    typed = Typed()
    prompt, start = typed.prompt, typed.prompt._start

    def cut(node: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        prompt.interrupted(signal.SIGINT, None)
        return start(node, argv)

    monkeypatch.setattr(prompt, "_start", cut)
    for line in ("pingall", f"source {lines}"):
        typed.asked.clear()
        prompt.onecmd(prompt.precmd(line))
        assert {node for node, _ in typed.asked} == {"client1"}, line
    assert "lost" not in typed.out.getvalue()


def test_tab_completes_commands_nodes_programs_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wishes.txt").touch()
    prompt = Typed().prompt
    assert prompt.completenames("cl") == ["client1", "client2"]
    assert prompt.completenames("n") == ["nationallink", "net", "nodes"]
    assert "sh" in prompt.completedefault("sh", "client1 sh", 8, 10)
    assert prompt.completedefault("we", "client1 ping we", 13, 15) == ["web"]
    assert prompt.completedefault("wi", "client1 cat wi", 12, 14) == ["wishes.txt"]
    assert prompt.completedefault(f"{tmp_path}/w", "client1 cat /w", 12, 14) == [f"{tmp_path}/wishes.txt"]
