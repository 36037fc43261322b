"""`testbed exec` and `enter` as people use them: pipes, terminals, folders, signals, statuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.live.conftest import COMMAND, SharedCountry, Testbed

pytestmark = pytest.mark.live
PLAIN = ("exec", "--policy", "open", "--link", "none")


def test_streams_folder_and_status_pass_through(tmp_path: Path) -> None:
    (tmp_path / "mine.sh").write_text('#!/bin/sh\ncat; echo "$1 $(pwd)"; echo error >&2; kill -TERM $$\n')
    (tmp_path / "mine.sh").chmod(0o755)
    done = subprocess.run(
        [*COMMAND, *PLAIN, "--", "./mine.sh", "an argument"],
        input="from outside\n", capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.stdout == f"from outside\nan argument {tmp_path}\n"
    assert done.stderr == "error\n"
    assert done.returncode == 128 + signal.SIGTERM


def test_a_terminal_is_a_terminal(tmp_path: Path) -> None:
    command = " ".join([*COMMAND, *PLAIN, "--", "sh", "-c", "'tty; stty size; exit 7'"])
    done = subprocess.run(
        ["script", "-qec", f"stty rows 33 cols 99; {command}", "/dev/null"],
        capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 7
    assert "/dev/pts/" in done.stdout
    assert "33 99" in done.stdout


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_reaches_the_command(whole_group: bool, tmp_path: Path) -> None:
    script = (  # waits for the first as long as it takes, then a second for another
        "import signal, time\nheard = []\n"
        "signal.signal(2, lambda *_: heard.append(print('heard', flush=True)))\n"
        "print('up', flush=True)\ndeadline = time.monotonic() + 60\n"
        "while not heard and time.monotonic() < deadline: time.sleep(0.02)\ntime.sleep(1)"
    )
    with subprocess.Popen(
        [*COMMAND, *PLAIN, "--", "python3", "-c", script],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=20) == 0
    heard = rest.splitlines()
    assert set(heard) == {"heard"}
    assert len(heard) == 1 or whole_group  # a busy machine may pass on what the terminal's group has heard already


def test_what_was_kept_is_a_whole_run_directory_and_is_not_overwritten(testbed: Testbed, tmp_path: Path) -> None:
    command = ("--", "curl", "-sS", "https://twitter.com/")
    arguments = ("exec", "--policy", "tm-2022", "--link", "none", "--keep", "kept", *command)
    assert testbed(*arguments).returncode == 7
    run = tmp_path / "kept"
    for name in ("scenario.yaml", "result.json", "events.jsonl", "junit.xml", "report.html", "fidelity.json", "logs",
                 "pcap/gateway-inside.pcapng", "pcap/gateway-outside.pcapng"):  # fmt: skip
        assert (run / name).exists(), name
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert {event["rule"] for event in events} == {"dns"}
    assert all(event["frames"]["inside"] for event in events)
    assert "decisions (dns " in testbed("report", "kept").stdout
    assert testbed("check", "kept/scenario.yaml").returncode == 0
    again = testbed(*arguments)
    assert again.returncode == 2
    assert again.stderr == "kept: is there already; give a new directory, or one without files, with --keep\n"


def test_wrong_words_inside_the_sandbox_are_bad_input_too(testbed: Testbed) -> None:
    done = testbed("exec", "--policy", "tm-2202", "--", "true")
    assert (done.returncode, done.stderr) == (2, "tm-2202: no such policy; did you mean `tm-2022`?\n")
    told = json.loads(testbed("exec", "--json", "--node", "client9", "--link", "none", "--", "true").stdout)
    assert told["status"] == 2
    assert told["problems"][0]["what"] == "no such node"


def test_a_second_terminal_sees_the_same_net(country: SharedCountry) -> None:
    assert country.shell("hostname -I | tr ' ' '\\n' | grep -c 100.64.1.2", node="client2") == ["1"]
    lines = country.shell("ping -c1 -W2 -q 100.64.1.2 | grep -o '1 received'; head -1 /etc/resolv.conf; echo $HOME")
    home = Path(country.folder, "work", "hosts", "client1", "home")
    assert lines == ["1 received", "nameserver 100.64.0.53", str(home)]
    assert country.run("sh", "-c", "exit 9").returncode == 9
    missing = country.run("true", node="nobody")
    assert missing.returncode == 2
    assert "no such node; choose one of" in missing.stderr


def test_a_run_that_is_over_can_not_be_entered(testbed: Testbed, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    done = testbed("enter", str(tmp_path), "client1", "--", "true")
    assert done.returncode == 2
    assert "this run is not running; start it, then enter it" in done.stderr


def test_a_users_own_scenario_with_its_own_policy(testbed: Testbed, tmp_path: Path) -> None:
    folder = tmp_path / "my files"
    folder.mkdir()
    (folder / "lists").mkdir()
    (folder / "lists" / "mine.txt").write_text(".blocked.example\n")
    (folder / "policy.yaml").write_text(
        "policy: mine\ntitle: Mine\nrules:\n  - name: mine\n    match: {sni: {lists: [mine.txt]}}\n"
        "    action: {rst: {}}\n    evidence: {mark: G, source: test}\n"
    )
    (folder / "s.yaml").write_text(
        "scenario: mine\ntitle: Mine\nduration: 3 s\nlink: none\npolicy: ./policy.yaml\n"
        "apps:\n  - {name: a, app: web, params: {url: 'https://www.blocked.example/'}}\n"
        "  - {name: b, app: web, params: {url: 'https://free.example/'}}\n"
        "expect:\n  - {phase: start, app: a, verdict: blocked, failure: connection_reset, blocking: http-failure}\n"
        "  - {phase: start, app: b, verdict: ok}\n"
    )
    done = testbed("run", "my files/s.yaml", "--into", "out", "--seed", "5", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["seed"] == 5
    again = testbed("run", "my files/s.yaml", "--into", "out")
    assert (again.returncode, again.stderr) == (
        2,
        "out: is there already; give a new directory, or one without files, with --into\n",
    )
