"""The pytest plugin with a net that is only pretended: what passes, fails, errs and skips, and what the reports say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from testbed.errors import MachineError, UnfaithfulError
from testbed.session.controls import Controlled
from testbed.session.seen import Decided, Page

pytest_plugins = ["pytester"]
RESET = Decided(1.0, "gateway", "tls-sni", "reset", "drop", "tcp 100.64.1.1:4000 > 198.19.3.4:443", 2)


class Pretended:
    """Stands for `CensoredNet`; what shall go wrong is set on the class."""

    started: list[dict[str, Any]] = []
    lacks: str = ""
    not_blocked: bool = False
    doubt: str = ""

    def __init__(self, **settings: Any) -> None:
        type(self).started.append(settings)
        if self.lacks:
            raise MachineError(self.lacks, "install it")
        self.link, self.seed = str(settings["link"]), settings["seed"]
        self.run_dir: Path = settings["keep"] or settings["folder"]
        self.policy, self.alive, self.fidelity = "open", True, None
        self.history: list[Controlled | Page] = []

    def enter(self, policy: str, *, control: str | None = None, phase: str | None = None) -> None:
        self.policy = policy
        if self.not_blocked:
            raise UnfaithfulError("the control host was not blocked")
        self.history.append(Controlled(policy, "https://b.example/", control, "reset"))

    def prove(self) -> None:
        if self.doubt:
            raise UnfaithfulError(self.doubt)

    def leave(self, policy: str = "open", **rest: Any) -> None:
        self.policy = policy

    @contextlib.contextmanager
    def behind(self, policy: str, **asked: Any) -> Iterator[Pretended]:
        self.enter(policy, **asked)
        yield self
        self.prove()
        self.leave()

    def fetch(self, url: str) -> Page:
        failure = "connection_reset" if self.policy != "open" else None
        page = Page(url, "client1", failure, "tls_handshake", None, 0, None, 0.1, None, 1.0, (RESET,))
        self.history.append(page)
        return page

    def captures(self) -> dict[str, Path]:
        return {}

    def close(self) -> None:
        self.alive = False


@pytest.fixture(autouse=True)
def net(monkeypatch: pytest.MonkeyPatch) -> type[Pretended]:
    fresh = type("Fresh", (Pretended,), {"started": []})
    monkeypatch.setattr("testbed.session.CensoredNet", fresh)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return fresh


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile("import pytest\n" + source)
    return pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider", "--strict-markers", *options)


MARKED = """
@pytest.mark.behind("tm-2022", "./mine.yaml")
def test_blocked(censored_net, testbed_policy):
    assert censored_net.policy == testbed_policy
    assert censored_net.fetch("https://a.example/").failure == "connection_reset"
"""


def test_a_marked_test_runs_once_for_each_policy_in_one_net(pytester: pytest.Pytester, net: type[Pretended]) -> None:
    result = run(pytester, MARKED, "-v", "--testbed-link", "none", "--testbed-seed", "7")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_blocked?tm-2022? PASSED*", "*test_blocked?mine? PASSED*"])
    assert [(settings["link"], settings["seed"]) for settings in net.started] == [("none", 7)]


@pytest.mark.parametrize(("scope", "nets"), [("session", 1), ("module", 1), ("test", 2)])
def test_a_net_lives_as_long_as_asked(
    pytester: pytest.Pytester, net: type[Pretended], scope: str, nets: int
) -> None:  # fmt: skip
    run(pytester, MARKED, "--testbed-scope", scope).assert_outcomes(passed=2)
    assert len(net.started) == nets


def test_the_mark_alone_brings_the_net(pytester: pytest.Pytester, net: type[Pretended]) -> None:
    net.not_blocked = True
    run(pytester, "@pytest.mark.behind('tm-2022')\ndef test_it(): pass").assert_outcomes(errors=1)


def test_a_censor_that_was_not_shown_is_an_error_that_xfail_does_not_hide(
    pytester: pytest.Pytester, net: type[Pretended]
) -> None:  # fmt: skip
    net.not_blocked = True
    result = run(pytester, "@pytest.mark.xfail\n@pytest.mark.behind('tm-2022')\ndef test_it(censored_net): assert 0")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*UnfaithfulError: the control host was not blocked*"])


@pytest.mark.parametrize("mark", ["", "@pytest.mark.xfail\n"])
def test_a_test_whose_net_was_not_faithful_fails_though_it_passed(
    pytester: pytest.Pytester, net: type[Pretended], mark: str
) -> None:  # fmt: skip
    net.doubt = "nothing is proven: the link was not faithful"
    result = run(pytester, mark + MARKED.replace(', "./mine.yaml"', ""), "--junitxml=j.xml")
    result.assert_outcomes(failed=1)
    assert properties(pytester)["testbed.invalid"] == [net.doubt]


def test_an_unmarked_test_is_judged_too(pytester: pytest.Pytester, net: type[Pretended]) -> None:
    net.doubt = "nothing is proven: gateway ended with status -9"
    run(pytester, "def test_it(censored_net): assert censored_net.policy == 'open'").assert_outcomes(failed=1)


def test_an_expected_failure_of_the_tool_stays_expected(pytester: pytest.Pytester) -> None:
    source = "@pytest.mark.xfail\n@pytest.mark.behind('tm-2022')\ndef test_it(censored_net):\n"
    run(pytester, source + "    assert censored_net.fetch('https://a.example/').ok").assert_outcomes(xfailed=1)


def test_a_tool_that_does_not_start_may_be_expected(pytester: pytest.Pytester) -> None:
    source = "@pytest.mark.xfail\n@pytest.mark.behind('tm-2022')\ndef test_it(censored_net):\n"
    failing = (
        "    from testbed.proc import Completed, CommandError\n    raise CommandError(Completed(('ssh',), 1, '', ''))"
    )
    run(pytester, source + failing).assert_outcomes(xfailed=1)


def test_behind_in_a_test_is_judged_at_the_end_of_its_block(pytester: pytest.Pytester, net: type[Pretended]) -> None:
    source = """
def test_it(behind):
    with behind("tm-2022", link="none") as net:
        assert not net.fetch("https://a.example/").ok
    raise SystemError("not reached if the block proved nothing")
"""
    net.doubt = "nothing is proven: the link was not faithful"
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UnfaithfulError: nothing is proven*"])
    assert net.started[0]["link"] == "none"


LACKING = MARKED + "\ndef test_by_hand(behind):\n    with behind('tm-2022'): pass\n"


def test_what_the_machine_lacks_is_an_error_and_tried_once(pytester: pytest.Pytester, net: type[Pretended]) -> None:
    net.lacks = "the program `unshare` is not installed"
    run(pytester, LACKING).assert_outcomes(errors=2, failed=1)
    assert len(net.started) == 1


def test_what_the_machine_lacks_is_a_skip_with_its_reason_if_asked(
    pytester: pytest.Pytester, net: type[Pretended]
) -> None:  # fmt: skip
    net.lacks = "the program `unshare` is not installed"
    result = run(pytester, LACKING, "--testbed-missing", "skip", "-rs")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*this machine lacks something: the program `unshare` is not installed; install it*"])


def test_a_failure_tells_what_the_censor_did_and_where_the_run_is(pytester: pytest.Pytester) -> None:
    result = run(pytester, MARKED.replace("failure ==", "failure !="))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([
        "*- testbed -*", "policy tm-2022, link national-2021, seed 1",
        "https://a.example/ from client1: connection_reset at tls_handshake after 0.10 s",
        "*by `tls-sni`: reset on tcp 100.64.1.1:4000 > 198.19.3.4:443", "run directory: *testbed0",
    ])  # fmt: skip


def properties(pytester: pytest.Pytester) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in ElementTree.parse(pytester.path / "j.xml").iter("property"):
        found.setdefault(entry.attrib["name"], []).append(entry.attrib["value"])
    return found


def test_junit_holds_policy_control_and_oonis_words(pytester: pytest.Pytester) -> None:
    run(pytester, MARKED.replace(', "./mine.yaml"', ""), "--junitxml=j.xml").assert_outcomes(passed=1)
    found = properties(pytester)
    assert found.pop("testbed.run")[0].endswith("testbed0")
    assert found == {
        "testbed.policy": ["tm-2022"], "testbed.link": ["national-2021"], "testbed.seed": ["1"],
        "testbed.control": ["control under tm-2022: nothing is to be blocked, https://b.example/ passes"],
        "testbed.page": ["https://a.example/ from client1: connection_reset at tls_handshake after 0.10 s"],
        "testbed.failure": ["connection_reset"], "testbed.operation": ["tls_handshake"],
        "testbed.blocking": ["http-failure"], "testbed.rules": ["tls-sni"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("behind()", "behind(…) names no policy"),
        ("behind('china')\n@pytest.mark.behind('tm-2022')", "behind(…) stands twice; name all policies in one*"),
        ("behind('tm-2022', lnik='none')", "behind(lnik=…): no such key; known: link, scenario, control"),
    ],
)
def test_a_mistaken_mark_is_an_error_at_collection(pytester: pytest.Pytester, mark: str, said: str) -> None:
    result = run(pytester, f"@pytest.mark.{mark}\ndef test_it(censored_net): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{said}*"])


def test_a_mark_of_the_class_gives_way_to_that_of_a_test(pytester: pytest.Pytester) -> None:
    source = """
@pytest.mark.behind("china")
class TestAll:
    @pytest.mark.behind("tm-2022")
    def test_it(self, testbed_policy):
        assert testbed_policy == "tm-2022"
"""
    run(pytester, source).assert_outcomes(passed=1)


UNITTEST = """
import unittest
@pytest.mark.behind({policies})
class TestIt(unittest.TestCase):
    def test_it(self):
        pass
"""


def test_a_test_of_unittest_stands_behind_its_policy(pytester: pytest.Pytester) -> None:
    run(pytester, UNITTEST.format(policies="'tm-2022'"), "--junitxml=j.xml").assert_outcomes(passed=1)
    assert properties(pytester)["testbed.policy"] == ["tm-2022"]


def test_a_test_of_unittest_behind_two_policies_is_an_error(pytester: pytest.Pytester) -> None:
    result = run(pytester, UNITTEST.format(policies="'tm-2022', 'china'"))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*one policy; name one, or write a plain function*"])


LATE = """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.behind("tm-2022"))
"""


def test_a_mark_that_comes_late_counts(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(LATE)
    run(pytester, "def test_it(censored_net): assert censored_net.policy == 'tm-2022'").assert_outcomes(passed=1)


def test_a_mark_that_comes_too_late_for_a_net_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(LATE)
    result = run(pytester, "def test_it(): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*let the test ask for `censored_net`*"])


def test_a_mistaken_setting_stops_pytest(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntestbed_missing = maybe\n")
    result = run(pytester, MARKED)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*testbed_missing: 'maybe'; choose one of error, skip*"])


def test_kept_runs_have_a_directory_each_and_are_named(pytester: pytest.Pytester, net: type[Pretended]) -> None:
    result = run(pytester, MARKED, "--testbed-keep", "runs")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"{pytester.path}/runs/main-*"])
    assert net.started[0]["keep"].is_dir()


def test_under_xdist_each_worker_has_nets_of_its_own_and_all_are_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    pytester.makeconftest(
        "import testbed.session\nfrom tests.session.test_plugin import Pretended\n"
        "testbed.session.CensoredNet = Pretended\n"
    )
    pytester.makepyfile(
        "import pytest\n@pytest.mark.parametrize('number', range(8))\n@pytest.mark.behind('tm-2022')\n"
        "def test_it(censored_net, number): assert censored_net.policy == 'tm-2022'\n"
    )
    result = pytester.runpytest_subprocess("-n", "2", "--testbed-keep", "runs", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=8)
    kept = sorted(path.name for path in (pytester.path / "runs").iterdir())
    assert [name.partition("-")[0] for name in kept] == ["gw0", "gw1"]
    result.stdout.fnmatch_lines([f"{pytester.path}/runs/{name}" for name in kept])
