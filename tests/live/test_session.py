"""A live net from outside, real: an example's suite behind real censors, plain and under xdist, and a sudden end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

import testbed
from testbed.errors import InputError
from testbed.proc import CommandError
from tests.live.test_kill import _descendants, _held, _namespaces, _processes

pytestmark = pytest.mark.live
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "pproxy"


def suite(folder: Path, out: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], ElementTree.Element]:
    """Run a suite with a pytest of its own; return how it ended and its JUnit file."""
    junit = out / "junit.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--junitxml={junit}", "-p", "no:cacheprovider",
         f"--basetemp={out / 'temporary'}", *options],
        cwd=folder, capture_output=True, text=True, timeout=150, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )  # fmt: skip
    return done, ElementTree.parse(junit).getroot()


def properties(junit: ElementTree.Element, case: str) -> dict[str, str]:
    found = next(found for found in junit.iter("testcase") if found.attrib["name"] == case)
    return {entry.attrib["name"]: entry.attrib["value"] for entry in found.iter("property")}


def test_the_examples_suite_passes_under_xdist_and_its_junit_says_what_was_seen(tmp_path: Path) -> None:
    # two at once over the slow link may make this machine late, and what is late is invalid
    done, junit = suite(EXAMPLE, tmp_path, "-n", "2", "-k", "not half_a_megabit")
    assert done.returncode == 0, done.stdout
    assert " 7 passed" in done.stdout
    blocked = properties(junit, "test_a_plain_http_proxy_does_not[tm-2022]")
    assert (blocked["testbed.policy"], blocked["testbed.failure"]) == ("tm-2022", "connection_reset")
    assert "http-host" in blocked["testbed.rules"]
    assert "is blocked" in blocked["testbed.control"]
    assert "passes" in blocked["testbed.control"]
    through = properties(junit, "test_shadowsocks_gets_through[tm-2022]")
    assert "testbed.failure" not in through
    assert "HTTP status 200" in through["testbed.page"]


@pytest.mark.alone
def test_censor_link_and_tools_change_in_the_middle_and_all_is_as_before_afterwards(tmp_path: Path) -> None:
    (tmp_path / "link.yaml").write_text("rate: 5 Mbit/s\nrtt: 20 ms\n")
    site, big = "https://twitter.com/", "https://www.example.org/bytes/30000"
    with testbed.censored_net(link=tmp_path / "link.yaml", folder=tmp_path / "run") as net:
        web = net.address("web")
        with net.behind("tm-2022"):
            assert net.fetch(site).blocking == "dns"
            blocked = net.fetch(site, address=web)
            assert (blocked.failure, "tls-sni" in blocked.why) == ("connection_reset", True)
            net.set_rule("tls-sni", False)
            assert net.fetch(site, address=web).ok
            net.set_link({"rate": "0.2 Mbit/s"})
            slow = net.fetch(big, timeout_s=30)
            assert slow.ok, slow
            assert slow.total_s > 30000 * 8 / 200e3 * 0.9
            with net.tool("pproxy-http") as tool:
                assert net.fetch("https://www.example.org/headers", through=tool).via == net.address("tools")
            bad = tmp_path / "bad.yaml"
            client = "{name: c, argv: [sh, -c, 'echo no; exit 4'], ready: {listens: tcp/9}}"
            bad.write_text(f"recipe: bad\ntitle: Bad\nclient: [{client}]\nuse: {{}}\n")
            with pytest.raises(CommandError, match="c ended with status 4: no"), net.tool(bad):
                pass
        assert net.fetch(site).ok  # what the resolver learned from the censor is forgotten
        with pytest.raises(InputError, match="no such policy; did you mean `tm-2022`"):
            net.set_policy("tm-2202")
        with pytest.raises(InputError, match="no such program"):
            net.run("no-such-program")
        with pytest.raises(CommandError, match=r"bad key\nsh-\d+ ended before saying"):
            net.start("sh", "-c", "echo bad key; exit 4", says="up")
        assert net.run("sleep", "60", timeout_s=0.2).timed_out
        assert net.run("cat", input="hello").stdout == "hello"
        assert (net.run("sh", "-c", "kill -9 $$").status, net.run("pwd", cwd=tmp_path).stdout) == (137, f"{tmp_path}\n")
        net.prove()
    assert net.fidelity is not None
    assert net.fidelity["faithful"], net.fidelity
    assert not (tmp_path / "run" / "result.json").exists()


BROKEN = """
import pytest

pytestmark = pytest.mark.behind("tm-2022")

@pytest.mark.xfail
def test_a_wrong_expectation(censored_net):
    assert censored_net.run("curl", "-sS", "-m", "5", "http://twitter.com/", "--resolve",
                            "twitter.com:80:" + censored_net.address("web")).status == 99

def test_a_failure_says_why(censored_net):
    censored_net.fetch("https://twitter.com/", address=censored_net.address("web"))
    assert 0

def test_a_dead_censor_is_no_open_country(censored_net):
    pid = censored_net.run("pgrep", "-of", "testbed.middlebox.box").stdout
    censored_net.run("kill", "-9", pid.strip(), check=True)

def test_the_next_one_has_a_new_net(censored_net):
    assert not censored_net.fetch("https://twitter.com/").ok
"""


@pytest.mark.alone
def test_the_slow_part_of_it_passes_without_xdist(tmp_path: Path) -> None:
    done, junit = suite(EXAMPLE, tmp_path, "-k", "half_a_megabit")
    assert (done.returncode, " 1 passed" in done.stdout) == (0, True), done.stdout
    found = properties(junit, "test_it_works_over_half_a_megabit[tm-2022]")
    assert found["testbed.link"] == "national-2021"
    assert float(found["first_byte_s"]) > 0.4  # there and back again takes 205 ms, and more than once


def test_failures_say_why_and_a_killed_censor_is_never_passed(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text(BROKEN)
    kept = tmp_path / "kept"
    options = ("--testbed-link", "none", "--testbed-keep", str(kept), "-rA")
    done, _ = suite(tmp_path, tmp_path, *options)
    assert done.returncode == 1, done.stdout
    assert "2 failed, 1 passed, 1 xfailed" in done.stdout, done.stdout
    for words in (
        "policy tm-2022, link none", "by `tls-sni`: reset on tcp 100.64.1.1", "the packet that drew it", "twitter.com",
        "UnfaithfulError: nothing is proven: ", "gateway ended with status -9",
    ):  # fmt: skip
        assert words in done.stdout, words
    first, second = sorted(kept.iterdir())
    assert first.name.startswith("main-")
    assert f"\n{first}\n{second}\n" in done.stdout
    for run, status, tests in ((first, "invalid", 3), (second, "passed", 1)):
        result = json.loads((run / "result.json").read_text())
        assert result["status"] == status, result["why"]
        named = [phase["name"] for phase in result["phases"] if "test_broken.py" in phase["name"]]
        assert len(named) == tests
        assert "tls-sni" in (run / "events.jsonl").read_text()
        assert "tls-sni" in (run / "report.html").read_text()
        assert (run / "pcap" / "gateway-inside.pcapng").stat().st_size


WAITING = """
import time

def test_waits(behind):
    with behind("open", link="none") as net:
        server = net.start("sh", "-c", "echo up; exec sleep 900", node="tools", says="up")
        print("up", flush=True)
        net.run("sleep", "900", timeout_s=900)
"""


def test_killing_pytest_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "test_waiting.py").write_text(WAITING)
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider", "--basetemp=temporary"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert any(line.endswith("up\n") for line in process.stdout)
        with _held(list(_descendants(process.pid))) as spaces:
            assert len(spaces) > 20  # a net and a mount namespace for each node
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            deadline = time.monotonic() + 30
            while (left := _namespaces(_processes()) & spaces) and time.monotonic() < deadline:
                time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert left == set()
